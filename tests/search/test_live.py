"""The table of a running search: what it shows, and that it finds room in any terminal."""

import math
from dataclasses import replace

import pytest
from made_up import RANK, RATE, STOP_STEPS, even, formula_study, study_of_trials, trial

from runner.report.style import Style
from runner.search.live import Progress, clock, live_table, seconds_left
from runner.search.records import Study

PROGRESS = Progress("validation", STOP_STEPS, trials=24, at_once=1, elapsed_s=75.0, keys=(RANK, RATE))


def running() -> Study:
    """Fourteen trials, of which the last two run and the eleventh is the best."""
    study = formula_study(14)
    *ended, one, two = study.trials
    return replace(
        study, trials=(*ended, replace(one, ending=None, rungs=()), replace(two, ending=None, rungs=two.rungs[:1]))
    )


def test_table_shows_each_trial_its_values_its_step_and_its_loss() -> None:
    study = study_of_trials(
        trial(0, [even(50, 0.5), even(100, 0.3)], ending="stopped"),
        trial(1, [], ending="infeasible"),
        trial(2, [even(50, 0.4)], ending=None),
    )
    progress = replace(PROGRESS, steps={2: 77}, expected_tokens=2048 * 970)  # 150 steps took 22.5 s
    text = live_table(study, progress, Style(100, unicode=True))
    assert text.splitlines() == [
        "██░░░░░░░░ 3 of 24 trials tried, 0 to the end, 1:15 elapsed, about 2:03 left",
        "",
        "trial  rank  learning rate     step    loss         lowest",
        "   ★0     4          0.002  100/200  0.3000  0.3000 at 100  held back",
        "    1     4          0.003        -                         does not fit",
        "    2     4          0.004   77/200  0.4000   0.4000 at 50  running",
        "",
        "best 0.3000 (untuned 2.0000): rank 4, learning rate 0.002, step 100",
    ]


def test_what_is_measured_last_does_not_stand_beside_another_step() -> None:
    late = trial(0, [even(50, 0.5), even(200, 0.3), even(100, 0.4)], ending=None)
    (row,) = [
        line for line in live_table(study_of_trials(late), PROGRESS, Style(100)).splitlines() if "running" in line
    ]
    assert "200/200  0.3000" in row


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
@pytest.mark.parametrize("lines", [7, 12, 24, 60])
def test_table_finds_room(width: int, lines: int) -> None:
    for style in (Style(width), Style(width, unicode=False)):
        text = live_table(running(), replace(PROGRESS, keys=(*PROGRESS.keys, "data.some_long_key")), style, lines=lines)
        assert max(map(len, text.splitlines())) <= width
        assert len(text.splitlines()) <= lines
        assert style.unicode or text.isascii()


def test_best_and_running_trials_stay_in_sight() -> None:
    study = running()
    text = live_table(study, PROGRESS, Style(), lines=10)
    shown = [line.split()[0] for line in text.splitlines()[3:-3]]
    assert shown == ["★10", "11", "12", "13"]
    assert f"and {14 - len(shown)} more trials that ended" in text


def test_colours_add_nothing_but_colours() -> None:
    plain, coloured = (live_table(running(), PROGRESS, Style(color=color)) for color in (False, True))
    assert "\x1b[" in coloured
    for code in ("0", "1", "2", "36", "1;33"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == plain


def test_nothing_measured_yet() -> None:
    text = live_table(study_of_trials(), PROGRESS, Style())
    assert text.startswith("░░░░░░░░░░ 0 of 24 trials tried, 0 to the end, 1:15 elapsed\n")
    assert text.endswith("nothing measured yet")
    lost = study_of_trials(trial(0, [even(50, math.nan)], ending="diverged"))
    assert live_table(lost, PROGRESS, Style()).endswith("nothing measured yet")


def test_time_left_is_what_the_rest_of_the_tokens_takes() -> None:
    """350 of 1,000 steps took 52.5 s, 0.15 s each; a repeat takes 200."""
    ended = trial(0, [even(200, 0.3)]), trial(1, [even(100, 0.3)], ending="stopped"), trial(2, ending="infeasible")
    study = study_of_trials(*ended, trial(3, [even(50, 0.4)], ending=None))
    progress = replace(PROGRESS, trials=5, expected_tokens=2048 * 1000, repeat_tokens=2048 * 200)
    assert seconds_left(study, progress) == pytest.approx(650 * 0.15)
    assert seconds_left(study, replace(progress, at_once=2)) == pytest.approx(650 * 0.15 / 2)
    assert seconds_left(study, replace(progress, repeating=2)) == pytest.approx(1050 * 0.15)
    assert seconds_left(study, replace(progress, expected_tokens=2048)) == 0.0
    assert seconds_left(study_of_trials(trial(0, ending="infeasible")), progress) is None


def test_clock_is_read_at_a_glance() -> None:
    assert [clock(seconds) for seconds in (0.4, 59.4, 59.6, 3599, 3723)] == ["0 s", "59 s", "1:00", "59:59", "1:02:03"]

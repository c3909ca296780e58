"""The end of an evaluation on one screen: its facts, its width, its signs."""

from dataclasses import replace

import pytest

from report_fakes import made_up_evaluation
from runner.evaluation.results import Estimate, Evaluation
from runner.report import Style
from runner.report.evaluation_summary import summary_of

COUNTS = {"newly": 10, "lost": 4, "both": 20, "neither": 6}


def evaluation(**changes: object) -> Evaluation:
    return replace(made_up_evaluation(COUNTS).evaluation, **changes)  # type: ignore[arg-type]  # fields by name


def test_summary_tells_verdict_shares_wins_failures_and_lengths() -> None:
    lines = summary_of(evaluation(), Style(80)).splitlines()
    assert lines[0] == "On held-out the tuned model is better: 10 newly solved, 4 lost."
    assert lines[2].split() == ["pass@1,", "95", "%", "interval", "tokens", "cut"]
    assert lines[4].split() == ["base", "60.0", "%", "(50.0-70.0)", "40", "0.0", "%"]
    assert lines[5].split() == ["tuned", "75.0", "%", "(65.0-85.0)", "40", "0.0", "%"]
    told = "\n".join(lines)
    for said in (
        "█ both 20, ▓ only tuned 10, ▒ only base 4, ░ neither 6",
        "+15.0 (-10.0 to +90.0) points of pass@1, p = 0.040",
        "base failed    16 wrong answer",
        "tuned failed   10 wrong answer",
        "40 problems, 1 answer each, greedy, at most 192 tokens",
        "2 left out: too long",
        "1 min 01 s on a card",
    ):
        assert said in told, said


def test_the_bar_has_a_sign_for_each_share() -> None:
    bar = next(line for line in summary_of(evaluation(), Style(80)).splitlines() if line.startswith("solved by"))
    assert bar.split()[2] == "█" * 20 + "▓" * 10 + "▒" * 4 + "░" * 6


@pytest.mark.parametrize("width", [56, 80, 100])
@pytest.mark.parametrize("ks", [(1,), (1, 5, 10), (1, 2, 5, 10, 20, 50, 100)])
def test_summary_keeps_its_width_and_all_shares(width: int, ks: tuple[int, ...]) -> None:
    found = Estimate(1.0, 0.9, 1.0)
    arms = tuple(replace(arm, pass_at=dict.fromkeys(ks, found)) for arm in evaluation().arms)
    told = summary_of(evaluation(arms=arms), Style(width))
    assert max(map(len, told.splitlines())) <= width
    assert told.count("100.0 % (90.0-100.0)") == len(ks) * 2
    assert all(f"pass@{k}" in told for k in ks)


def test_summary_in_ascii_is_ascii_and_coloured_only_where_asked() -> None:
    assert summary_of(evaluation(), Style(80, unicode=False)).isascii()
    assert "\x1b" not in summary_of(evaluation(), Style(80))
    assert "\x1b" in summary_of(evaluation(), Style(80, color=True))


def test_programs_without_walls_and_weak_tests_are_said_so() -> None:
    told = summary_of(evaluation(isolation="none"), Style(80))
    assert "warning: programs were not isolated" in told
    assert "weak tests" in summary_of(made_up_evaluation(COUNTS, weak=True).evaluation, Style(80))


def test_one_arm_alone_has_no_wins() -> None:
    told = summary_of(evaluation(arms=evaluation().arms[1:], paired=None), Style(80))
    assert "solved by" not in told
    assert "base" not in told

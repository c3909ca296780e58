"""The summary says what the records say, in its width, and leaves out what they do not."""

from dataclasses import replace
from pathlib import Path

import pytest

from runner.report import Command, Style, summary
from runner.runs import JobRecord, MetricsLog, Record, load_run, open_run

BEFORE: Record = {
    "kind": "passes",
    "step": 0,
    "format": "instruction",
    "solved": 2,
    "questions": 100,
    "by_family": {"bug_fixing": [0, 40], "loops": [2, 60]},
    "failures": {"no code": 98},
}
NATIVE: Record = {**BEFORE, "format": "native", "solved": 41}
AFTER: Record = {
    **BEFORE,
    "step": 600,
    "solved": 70,
    "by_family": {"bug_fixing": [10, 40], "loops": [60, 60]},
    "failures": {"timeout": 1, "wrong output": 29},
}


def train(step: int) -> Record:
    return {
        "kind": "train",
        "step": step,
        "loss": 1 + 3 / step,
        "tokens_per_s": 1.0 if step <= 2 else 2000.0,
        "seconds": 0.25,
        "data_s": 0.002,
        "peak_gib": 1.5 + step / 1000,
        "learning_rate": 1e-3,
    }


def validation(step: int, loss: float) -> Record:
    return {
        "kind": "validation",
        "step": step,
        "loss": loss,
        "think_loss": loss / 2,
        "answer_loss": loss * 2,
        "seconds": 2.0,
    }


def records() -> list[Record]:
    return [
        BEFORE,
        NATIVE,
        validation(0, 4.0),
        {"kind": "startup", "step": 0, "import_s": 10.0, "first_measurements_s": 5.5},
        *(train(step) for step in range(1, 601)),
        validation(300, 1.5),
        validation(500, 1.2),
        validation(550, 1.125),
        validation(600, 1.15),
        AFTER,
    ]


def told(root: Path, lines: list[Record], style: Style | None = None, commands: tuple[Command, ...] = ()) -> str:
    with open_run(root, "demo", job=JobRecord({}, "h"), resume="auto") as opened:
        with MetricsLog(opened.folder.metrics_file) as log:
            for record in lines:
                log.append(record)
        opened.folder.final.mkdir(exist_ok=True)
        opened.record("finished", step=600, steps=2175, reason="plateau" if len(lines) > 9 else "finished")
    run = load_run(root, "demo")
    timed = replace(run, summary=replace(run.summary, seconds=189.0))
    return summary(timed, style or Style(80), commands)


def test_a_summary_tells_losses_solved_speed_time_and_places(tmp_path: Path) -> None:
    text = told(tmp_path, records(), commands=(Command("runner show demo", "this page"),))
    for line in (
        "demo  finished at step 600 of 2,175: plateau",
        "validation     4.0000 → 1.1500 (-71.2%)",
        "  think part   2.0000 → 0.5750 (-71.2%)",
        "  answer part  8.0000 → 2.3000 (-71.2%)",
        "  lowest       1.1250 at step 550",
        "               after step 500 it fell by 0.0500",
        "solved         2 → 70 of 100 questions",
        "               95 % intervals 0.6-7.0 % → 60.4-78.1 %",
        "                 bug fixing    0 →  10 of 40   █████░░░░░░░░░░░░░░░",
        "                 loops         2 →  60 of 60   ████████████████████",
        "  not solved   29 wrong output, 1 timeout",
        "  untuned      41 of 100 in its own format (95 % interval 31.9-50.8 %)",
        "speed          2,000 tokens/s (median of 598 steps)",
        "peak memory    2.10 GiB",
        "  batches      0.80% of the steps' time",
        "time           start-up 15.5 s, training 2 min 30 s, validation 8.0 s,",
        "               3 min 09 s from start to end",
        "  start-up     import 10.0 s, first measurements 5.5 s",
        f"in {tmp_path / 'demo'}",
        "  final/         weights after the last step",
        "  runner show demo  this page",
    ):
        assert line in text.splitlines() or line.strip() in [part.strip() for part in text.splitlines()], line
    assert max(len(line) for line in text.splitlines() if not line.startswith("in ")) <= 80
    assert "best/" not in text


def test_where_a_run_was_interrupted_is_told(tmp_path: Path) -> None:
    hang = "a step took more than 60 s and was ended; its stacks are in hang-rank-0.log"
    events: list[Record] = [
        {"kind": "event", "step": 200, "name": "resumed", "text": "resumed after step 200"},
        {"kind": "event", "step": 200, "name": "hang", "text": hang},
        {"kind": "event", "step": 210, "name": "memory", "text": "out of memory in step 210"},
    ]
    lines = told(tmp_path, [*records(), *events]).splitlines()
    place = lines.index("interrupted    resumed after step 200")
    assert " ".join(line.strip() for line in lines[place + 1 : place + 3]) == hang
    assert lines[place + 3].strip() == "out of memory in step 210"


def test_a_summary_in_ascii_is_ascii(tmp_path: Path) -> None:
    text = told(tmp_path, records(), Style(80, unicode=False))
    assert text.isascii()
    assert "4.0000 -> 1.1500" in text


def test_no_clear_change_is_said(tmp_path: Path) -> None:
    text = told(tmp_path, [BEFORE, {**AFTER, "solved": 5}])
    assert "95 % intervals 0.6-7.0 % → 2.2-11.2 %  (they overlap: no clear change)" in text


def test_a_run_without_records_still_says_where_it_lies(tmp_path: Path) -> None:
    text = told(tmp_path, [])
    assert text.splitlines()[0] == "demo  finished at step 600 of 2,175"
    assert str(tmp_path / "demo") in text
    for word in ("validation", "questions", "speed", "┤"):
        assert word not in text


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "train", "step": 1, "loss": None},
        {"kind": "validation", "step": "one", "loss": "low"},
        {"kind": "passes"},
        {"kind": "passes", "by_family": {"x": [1]}, "failures": {"y": "many"}, "solved": None},
        {"kind": "startup", "model_s": None},
        {"kind": "event"},
        {"step": 3},
    ],
)
def test_odd_records_do_not_end_a_summary(tmp_path: Path, record: Record) -> None:
    assert "demo" in told(tmp_path, [record, record])


def test_what_was_measured_once_has_no_after(tmp_path: Path) -> None:
    text = told(tmp_path, [BEFORE, validation(0, 4.0)])
    for line in (
        "validation     4.0000 at step 0",
        "  think part   2.0000 at step 0",
        "solved         2 of 100 questions (95 % interval 0.6-7.0 %)",
        "               bug fixing    0 of 40   ░░░░░░░░░░░░░░░░░░░░",
        "               loops         2 of 60   █░░░░░░░░░░░░░░░░░░░",
    ):
        assert line in text.splitlines(), line
    assert "→" not in text
    assert "(+0.0%)" not in text


def test_a_family_that_was_not_asked_before_has_no_count_before(tmp_path: Path) -> None:
    text = told(tmp_path, [{**BEFORE, "by_family": {"loops": [2, 60]}}, AFTER])
    assert "bug fixing   10 of 40   █████" in text
    assert "loops         2 →  60 of 60   ████" in text


def test_a_part_that_is_the_whole_loss_is_not_told_twice(tmp_path: Path) -> None:
    whole: list[Record] = [
        {"kind": "validation", "step": step, "loss": loss, "think_loss": None, "answer_loss": loss}
        for step, loss in ((0, 4.0), (10, 2.0))
    ]
    text = told(tmp_path, whole)
    assert "4.0000 → 2.0000 (-50.0%)" in text
    assert "think part" not in text
    assert "answer part" not in text


def test_several_starts_and_a_plateau_are_told(tmp_path: Path) -> None:
    event: Record = {"kind": "event", "name": "plateau", "step": 550, "text": "plateau: " + "few gained " * 12}
    again: Record = {"kind": "startup", "step": 300, "model_s": 4.5}
    text = told(tmp_path, [*records(), again, event])
    assert "start-up 20.0 s in 2 starts" in text
    assert "  start-up     model 4.5 s" in text
    assert " ".join(text.split()).count("few gained") == 12
    assert max(len(line) for line in text.splitlines() if not line.startswith("in ")) <= 80

"""SIGTERM and Ctrl-C while a run measures and trains nothing: it ends at once, and goes on as if never stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from processes import end, wait_for
from runner.runs import JSON, read_metrics
from typed_runs import STEPS, losses, train, weights

pytestmark = [pytest.mark.slow, pytest.mark.long]

LONG = ("data.validation_questions=1000", "evaluation.questions=64", "evaluation.max_new_tokens=300")
OPTIONS = tuple(word for override in LONG for word in ("-o", override))
PROMPT_S = 10.0  # Ray's own end is most of it


def measured(run: Path) -> list[tuple[JSON, ...]]:
    """What was measured so far, and what came out."""
    return [
        (r["kind"], r["step"], r.get("format"), r.get("loss"), r.get("solved"))
        for r in read_metrics(run / "metrics.jsonl")
        if r["kind"] in ("validation", "passes")
    ]


def stopped(run: Path, process: "subprocess.Popen[str]", number: int, code: int) -> str:
    """What ``process`` says when it is sent a signal now; it measures nothing more, and ends within ``PROMPT_S``."""
    time.sleep(0.5)  # into the measurement
    before, asked = measured(run), time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    output = end(process, code)
    assert time.monotonic() - asked < PROMPT_S
    assert measured(run) == before
    return output


def test_a_run_stopped_in_its_measurements_ends_at_once_and_gives_what_one_left_alone_gives(
    home: Path, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole" / "demo", tmp_path / "stopped" / "demo"
    end(train(whole.parent, home, *OPTIONS), 0)

    def started() -> "subprocess.Popen[str]":
        return train(run.parent, home, *OPTIONS, own_group=True)

    process = started()
    wait_for(lambda: bool(measured(run)), process)  # the first of two counts; the other goes on
    output = stopped(run, process, signal.SIGTERM, 75)
    assert "stopped before the first step; nothing had been trained; run it again" in output

    process = started()
    wait_for(lambda: max(losses(run), default=0) == 10, process)
    output = stopped(run, process, signal.SIGTERM, 75)
    assert "stopped after step 10, everything is saved" in output

    process = started()
    wait_for(lambda: measured(run)[-1][:2] == ("validation", STEPS), process)
    output = stopped(run, process, signal.SIGINT, 130)
    assert f"stopped after step {STEPS}, everything is saved" in output

    end(started(), 0)
    assert measured(run) == measured(whole)
    assert losses(run) == losses(whole)
    assert weights(run) == weights(whole)

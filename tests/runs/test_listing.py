"""What the list of runs says of each, whatever state it is in."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.errors import UserError
from runner.runs import JobRecord, MetricsLog, list_runs, load_run, open_run
from runner.runs.state import seconds_between

JOB = JobRecord({"name": "demo", "train": {"steps": 10}}, "h")


def begin(storage: Path, name: str, *, step: int, state: str = "") -> None:
    with open_run(storage, name, job=JOB, resume="auto") as run, MetricsLog(run.folder.metrics_file) as log:
        for number in range(1, step + 1):
            log.append({"kind": "train", "step": number, "loss": 1.0})
        for number, loss in ((0, 3.0), (2, 1.25), (4, None), (6, 1.5)):
            log.append({"kind": "validation", "step": number, "loss": loss})
        if state:
            run.record(state, step=step, steps=10, reason="because")  # type: ignore[arg-type]  # a literal by its name


def test_each_run_is_listed_with_state_step_and_best_loss(tmp_path: Path) -> None:
    begin(tmp_path, "done", step=10, state="finished")
    begin(tmp_path, "broken", step=3, state="failed")
    (tmp_path / "no-run").mkdir()
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "job.yaml").write_text("{")
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert sorted(runs) == ["broken", "done", "spoilt"]
    done = runs["done"]
    assert (done.state, done.step, done.steps, done.best_validation_loss) == ("finished", 10, 10, 1.25)
    assert 0 <= done.seconds < 60
    assert (runs["broken"].state, runs["broken"].step, runs["broken"].reason) == ("failed", 3, "because")
    assert (runs["spoilt"].state, "cannot be read" in runs["spoilt"].reason) == ("failed", True)
    assert list_runs(tmp_path / "nowhere") == ()


def test_a_run_whose_process_was_killed_is_stopped_not_running(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from runner.runs import JobRecord, list_runs, open_run
run = open_run(Path(sys.argv[1]), "demo", job=JobRecord({"train": {"steps": 10}}, "h"), resume="auto")
print(list_runs(Path(sys.argv[1]))[0].state, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert told.stdout == "running\n"
    (run,) = list_runs(tmp_path)
    assert (run.state, run.steps, run.reason) == ("stopped", 10, "its process ended without a word")
    assert load_run(tmp_path, "demo").holder is None


def test_loading_an_unknown_run_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is none yet"):
        load_run(tmp_path, "demo")
    begin(tmp_path, "one", step=1)
    with pytest.raises(UserError, match=r"there is no run demo; .* \(the runs there: one\)"):
        load_run(tmp_path, "demo")
    run = load_run(tmp_path, "one")
    assert run.job == JOB.values
    assert len(run.records) == 5


def test_seconds_between_recorded_times_and_what_is_no_time() -> None:
    assert seconds_between("2026-11-23T05:00:00+00:00", "2026-11-23T06:01:02+00:00") == 3662.0
    assert seconds_between("2026-11-23T05:00:00+00:00", "2026-11-23T04:00:00+00:00") == 0.0
    assert [seconds_between(began, "2026-11-23T05:00:00+00:00") for began in ("", "x", "2026-11-23")] == [0.0] * 3

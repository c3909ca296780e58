"""`runner search` as a user types it, on the real engine: to its end, killed and gone on with, stopped; its answer."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from finished_run import finished_run
from processes import end, kill_driver, wait_for
from runner.config.load import load_job
from runner.runs import read_metrics
from runner.search.journal import read_journal
from typed_searches import STOP_STEPS, answer, measurements, pairs_at_rest, search, study, went_on

pytestmark = pytest.mark.slow

ROUNDING = 1e-5  # nats: a rank below the largest is multiplied with rows of zeros, in another order of sums


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """The storage of a search that was left alone."""
    storage = tmp_path_factory.mktemp("whole")
    output = end(search(storage, home), 0)
    assert "tiny  finished: 4 of 4 trials" in output
    assert "next      runner train" in output
    for word in ("Tune", "ray::", "Traceback", "WARNING"):
        assert word not in output
    return storage


def test_every_trial_measured_and_the_repeats_of_the_best_two(whole: Path) -> None:
    found = study(whole)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert {trial.ending for trial in found.trials} <= {"finished", "stopped"}
    curves = [tuple(sorted(rung.stop_step for rung in trial.rungs)) for trial in found.trials]
    assert sorted(curves) == [(5,), (5,), STOP_STEPS, (STOP_STEPS[0], STOP_STEPS[-1])]
    assert sum(trial.ending == "finished" for trial in found.trials) == 2
    assert len(found.repeats) == 2
    assert len(found.question_tokens) == 10
    assert found.base_loss > min(rung.loss for trial in found.trials for rung in trial.rungs)


@pytest.mark.parametrize("early", [False, pytest.param(True, marks=pytest.mark.long)])
def test_killed_and_resumed_gives_the_same_answer_and_runs_nothing_finished_again(
    early: bool, whole: Path, home: Path, tmp_path: Path
) -> None:
    """Killed near the end, and ``early`` before that; ``test_course`` kills a course after every measurement."""
    at_rest: set[tuple[int, int]] = set()
    if early:
        process = search(tmp_path, home)
        wait_for(lambda: measurements(tmp_path) >= 4, process)
        kill_driver(process, "SearchTrainable")
        at_rest = pairs_at_rest(study(tmp_path))
        assert 0 < len({number for number, _ in at_rest}) < 4
    completing = went_on(whole)[-1]
    process = search(tmp_path, home, *(["--resume"] if early else []))
    wait_for(lambda: completing in went_on(tmp_path), process)
    kill_driver(process, "SearchTrainable")
    output = end(search(tmp_path, home), 2)
    assert "the search tiny is unfinished" in output
    assert "--resume" in output
    before = study(tmp_path)
    assert {trial.number: trial.ending for trial in before.trials}[completing[0]] is None
    assert sum(trial.ending is not None for trial in before.trials) == 3
    at_rest |= pairs_at_rest(before)
    end(search(tmp_path, home, "--resume"), 0)
    assert study(tmp_path) == study(whole)
    assert answer(tmp_path) == answer(whole)
    events = read_journal(tmp_path / "tiny" / "journal.jsonl")
    measured = Counter((event["trial"], event["stop_step"]) for event in events if event["kind"] == "rung")
    assert {measured[pair] for pair in at_rest} == {1}


def test_the_best_job_trained_gives_the_loss_that_the_search_told(whole: Path, home: Path, tmp_path: Path) -> None:
    best = answer(whole)["best"]
    job = load_job(whole / "tiny" / "best.yaml")
    records = read_metrics(finished_run(job, tmp_path, home / ".cache" / "runner").metrics_file)
    losses = {int(str(r["step"])): float(str(r["loss"])) for r in records if r["kind"] == "validation"}
    assert abs(losses[best["stop_step"]] - best["loss"]) < ROUNDING
    assert losses[0] == answer(whole)["base_loss"]


def test_trials_of_two_workers_measure_what_those_of_one_do(whole: Path, home: Path, tmp_path: Path) -> None:
    end(search(tmp_path, home, "--workers", "2"), 0)
    pairs, alone = study(tmp_path), study(whole)
    assert [(trial.values, trial.ending) for trial in pairs.trials] == [
        (trial.values, trial.ending) for trial in alone.trials
    ]
    for one, other in zip(pairs.trials, alone.trials, strict=True):
        expected = {rung.stop_step: rung.loss for rung in other.rungs}
        assert {rung.stop_step: rung.loss for rung in one.rungs} == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.long
def test_ctrl_c_leaves_an_answer_and_typing_on_finishes(whole: Path, home: Path, tmp_path: Path) -> None:
    process = search(tmp_path, home)
    wait_for(lambda: measurements(tmp_path) >= 2, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    output = end(process, 130)
    assert time.monotonic() - asked < 40
    assert "go on with --resume" in output
    assert (tmp_path / "tiny" / "best.yaml").is_file()
    assert (tmp_path / "tiny" / "search.html").is_file()
    stopped = search(tmp_path, home, "--resume")
    before = measurements(tmp_path)
    wait_for(lambda: measurements(tmp_path) > before, stopped)
    stopped.send_signal(signal.SIGTERM)
    end(stopped, 75)
    end(search(tmp_path, home, "--resume"), 0)
    assert study(tmp_path) == study(whole)


@pytest.mark.long
def test_a_signal_to_the_whole_group_ends_ray_and_still_leaves_an_answer(
    whole: Path, home: Path, tmp_path: Path
) -> None:
    process = search(tmp_path, home)
    wait_for(lambda: measurements(tmp_path) >= 2, process)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    wait_for_end = 30.0  # what Slurm and Kubernetes leave
    output = end(process, 75)
    assert time.monotonic() - asked < wait_for_end
    assert "go on with --resume" in output
    assert (tmp_path / "tiny" / "best.yaml").is_file()
    end(search(tmp_path, home, "--resume"), 0)
    assert study(tmp_path) == study(whole)


def test_a_finished_search_typed_again_tells_its_answer_and_trains_nothing(whole: Path, home: Path) -> None:
    before = (whole / "tiny" / "journal.jsonl").read_bytes()
    output = end(search(whole, home), 0)
    assert "tiny  finished before: 4 of 4 trials" in output
    assert (whole / "tiny" / "journal.jsonl").read_bytes() == before

"""`runner train` as a user types it, through Ray Train: started, stopped, killed, gone on with, on two workers."""

import random
import signal
import time
from pathlib import Path

import pytest

from processes import end, kill_driver, wait_for, workers_of
from runner.runs import read_metrics
from typed_runs import STEPS, losses, train, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """An uninterrupted run on one worker."""
    storage = tmp_path_factory.mktemp("whole")
    output = end(train(storage, home), 0)
    assert "finished at step 30 of 30" in output
    assert len(losses(storage / "demo")) == STEPS
    return storage / "demo"


def test_a_finished_run_typed_again_trains_nothing(whole: Path, home: Path) -> None:
    before = weights(whole)
    output = end(train(whole.parent, home), 0)
    assert "finished" in output
    assert weights(whole) == before


@pytest.mark.long
def test_two_workers_give_the_losses_of_one(whole: Path, home: Path, tmp_path: Path) -> None:
    end(train(tmp_path, home, "--workers", "2"), 0)
    together, alone = losses(tmp_path / "demo"), losses(whole)
    assert together.keys() == alone.keys()
    assert max(abs(together[step] - alone[step]) for step in alone) < 1e-5


def test_sigterm_saves_the_same_command_goes_on_and_a_killed_worker_loses_nothing(
    whole: Path, home: Path, tmp_path: Path
) -> None:
    process = train(tmp_path, home)
    wait_for(lambda: len(losses(tmp_path / "demo")) >= 7, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert "everything is saved" in end(process, 75)
    assert time.monotonic() - asked < 30
    done = max(losses(tmp_path / "demo"))
    assert done < STEPS // 2
    process = train(tmp_path, home, "--resume", "must")
    wait_for(lambda: len(losses(tmp_path / "demo")) >= done + 7, process)
    (worker,) = workers_of(process, "TrainWorker")
    worker.kill()
    end(process, 0)
    assert losses(tmp_path / "demo") == losses(whole)
    assert weights(tmp_path / "demo") == weights(whole)
    records = read_metrics(tmp_path / "demo" / "metrics.jsonl")
    assert [r.get("name") for r in records].count("resumed") == 2


@pytest.mark.long
@pytest.mark.parametrize("kills", [2, 5])
def test_a_run_killed_at_random_points_goes_on_bit_for_bit(kills: int, whole: Path, home: Path, tmp_path: Path) -> None:
    chooser = random.Random(11)
    apart = (STEPS - 5) // kills
    for kill in range(kills):
        process = train(tmp_path, home)
        wanted = apart * kill + chooser.randint(1, apart)
        wait_for(lambda wanted=wanted: max(losses(tmp_path / "demo"), default=0) >= wanted, process)  # type: ignore[misc]
        kill_driver(process, "TrainWorker")
    end(train(tmp_path, home), 0)
    assert losses(tmp_path / "demo") == losses(whole)
    assert weights(tmp_path / "demo") == weights(whole)


def test_more_workers_than_cores_are_refused_before_ray_starts(home: Path, tmp_path: Path) -> None:
    profile = tmp_path / "large.yaml"
    profile.write_text("workers: 3\ncpus_per_worker: 500\n")
    began = time.monotonic()
    output = end(train(tmp_path / "runs", home, "--cluster", str(profile)), 3)
    assert "3 workers x 500 CPUs = 1500 are asked" in output
    assert time.monotonic() - began < 60

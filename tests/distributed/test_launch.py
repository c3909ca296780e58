"""`runner train` as a user types it, through Ray Train: started, stopped, killed, gone on with, on two workers."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from runner.runs import read_metrics

STEPS = 30
SMALL = {
    "model.weights": "random",
    "data.questions": 200,
    "data.max_length": 512,
    "data.validation_questions": 10,
    "lora.rank": 4,
    "train.tokens_per_step": 1024,
    "train.micro_batch": 1,
    "train.steps": STEPS,
    "train.learning_rate": 1e-3,  # at a large rate rounding alone drives two runs apart
    "validation.every": 10,
    "checkpoint.every": 5,
    "evaluation.questions": 0,
    "track": "[]",
}

pytestmark = pytest.mark.slow


def command(storage: Path, *options: str) -> list[str]:
    overrides = [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]
    return [sys.executable, "-m", "runner", "train", *overrides, "--storage", str(storage), *options]


def start(storage: Path, home: Path, *options: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(storage, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def end(process: "subprocess.Popen[str]", code: int) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def losses(run: Path) -> dict[int, float]:
    return {
        int(str(r["step"])): float(str(r["loss"])) for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"
    }


def weights(run: Path) -> bytes:
    return (run / "final" / "adapter_model.safetensors").read_bytes()


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """An uninterrupted run on one worker."""
    storage = tmp_path_factory.mktemp("whole")
    output = end(start(storage, home), 0)
    assert "finished at step 30 of 30" in output
    assert len(losses(storage / "demo")) == STEPS
    return storage / "demo"


def test_a_finished_run_typed_again_trains_nothing(whole: Path, home: Path) -> None:
    before = weights(whole)
    output = end(start(whole.parent, home), 0)
    assert "finished" in output
    assert weights(whole) == before


def test_two_workers_give_the_losses_of_one(whole: Path, home: Path, tmp_path: Path) -> None:
    end(start(tmp_path, home, "--workers", "2"), 0)
    together, alone = losses(tmp_path / "demo"), losses(whole)
    assert together.keys() == alone.keys()
    assert max(abs(together[step] - alone[step]) for step in alone) < 1e-5


def test_sigterm_saves_and_the_same_command_goes_on(whole: Path, home: Path, tmp_path: Path) -> None:
    process = start(tmp_path, home)
    wait_for(lambda: len(losses(tmp_path / "demo")) >= 7, process)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert "everything is saved" in end(process, 75)
    assert time.monotonic() - asked < 30
    done = max(losses(tmp_path / "demo"))
    assert done < STEPS
    end(start(tmp_path, home, "--resume", "must"), 0)
    assert losses(tmp_path / "demo") == losses(whole)
    assert weights(tmp_path / "demo") == weights(whole)


def test_a_killed_worker_is_started_again_and_loses_nothing(whole: Path, home: Path, tmp_path: Path) -> None:
    process = start(tmp_path, home)
    wait_for(lambda: len(losses(tmp_path / "demo")) >= 8, process)
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if "TrainWorker" in " ".join(p.cmdline())
    ]
    assert len(workers) == 1
    workers[0].kill()
    end(process, 0)
    assert losses(tmp_path / "demo") == losses(whole)
    assert weights(tmp_path / "demo") == weights(whole)
    assert any(r.get("name") == "resumed" for r in read_metrics(tmp_path / "demo" / "metrics.jsonl"))


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.long)])
def test_a_run_killed_at_random_points_goes_on_bit_for_bit(kills: int, whole: Path, home: Path, tmp_path: Path) -> None:
    chooser = random.Random(11)
    apart = (STEPS - 5) // kills
    for kill in range(kills):
        process = start(tmp_path, home)
        wanted = apart * kill + chooser.randint(1, apart)
        wait_for(lambda wanted=wanted: max(losses(tmp_path / "demo"), default=0) >= wanted, process)  # type: ignore[misc]
        family = psutil.Process(process.pid).children(recursive=True)
        workers = [member for member in family if "TrainWorker" in " ".join(member.cmdline())]
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, "a worker outlived the driver"
    end(start(tmp_path, home), 0)
    assert losses(tmp_path / "demo") == losses(whole)
    assert weights(tmp_path / "demo") == weights(whole)


def test_more_workers_than_cores_are_refused_before_ray_starts(home: Path, tmp_path: Path) -> None:
    profile = tmp_path / "large.yaml"
    profile.write_text("workers: 3\ncpus_per_worker: 500\n")
    began = time.monotonic()
    output = end(start(tmp_path / "runs", home, "--cluster", str(profile)), 3)
    assert "3 workers x 500 CPUs = 1500 are asked" in output
    assert time.monotonic() - began < 60

"""What a worker makes of a run in a bucket, without Ray: the same training, and an end when the bucket is gone."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bucket_server import Gate
from finished_run import finished_run, small_job
from lone_worker import without_ray
from runner.config.job import Job
from runner.distributed.kept import Bucket, fault_of_machine
from runner.distributed.outcome import Outcome, read_outcome
from runner.distributed.worker import Assignment, RayReporter, work
from runner.errors import DoesNotFit, RunnerError
from runner.runs import RunFolder, verified
from runner.runs.remote.bringing import bring_folder, bring_records
from runner.runs.remote.register import Holder, Register
from runner.runs.remote.store import Store
from typed_runs import losses, weights

SAVED, STEPS = 4, 12


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)
    monkeypatch.setattr("runner.runs.remote.sending.HURRY_S", 1.0)


@pytest.fixture
def run(gate: Gate) -> Store:
    """A run that a launcher holds."""
    assert gate.port
    store = Store("s3://bucket/runs/demo")
    holder = Holder("launcher", "host", 1, "2026", "place")
    Register(store).advance(lambda entry: replace(entry, holder=holder))
    return store


def job() -> Job:
    return small_job(train__steps=STEPS, checkpoint__every=SAVED, validation__every=SAVED)


def worked(root: Path, cache: Path, run: Store, launch: str) -> Outcome | RunnerError | None:
    """What is told of the end of the launch ``launch``."""
    bucket = asdict(Bucket(run.url, "launcher", 1.0))
    work(asdict(Assignment(job().model_dump(mode="json"), str(root), str(cache), launch, 0.0, 0.0, 1, bucket=bucket)))
    return read_outcome(root, launch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunFolder:
    return finished_run(job(), tmp_path_factory.mktemp("whole"), cache)


def at_checkpoint(monkeypatch: pytest.MonkeyPatch, step: int, happens: Callable[[], None]) -> None:
    """Let something happen when the checkpoint after ``step`` has been saved."""
    saved = RayReporter.saved

    def also(self: RayReporter, at: int, checkpoint: Path, loss: float | None) -> None:
        saved(self, at, checkpoint, loss)
        if at == step:
            happens()

    monkeypatch.setattr(RayReporter, "saved", also)


def test_a_run_in_a_bucket_is_that_in_a_folder_to_the_bit(
    run: Store, tmp_path: Path, cache: Path, whole: RunFolder
) -> None:
    told = worked(tmp_path / "here", cache, run, "one")
    assert isinstance(told, Outcome)
    there = RunFolder((tmp_path / "there").resolve())
    entry = Register(run).newest()
    bring_records(run, entry, there)
    for name in ("final", "best"):
        bring_folder(run, entry, there, name)
    assert weights(there.root) == weights(tmp_path / "here") == weights(whole.root)
    assert losses(there.root) == losses(tmp_path / "here") == losses(whole.root)
    assert isinstance(read_outcome(there.root, "one"), Outcome), "a launcher elsewhere reads it there"
    assert sorted(entry.folders) == [
        "best",
        *(f"checkpoints/step-{step:06d}" for step in (4, 8, 12)),
        "final",
    ]


def test_a_bucket_that_is_gone_for_good_ends_the_run_with_3_and_the_next_launch_sends_everything(
    run: Store, gate: Gate, tmp_path: Path, cache: Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        gate.shut()
        monkeypatch.setattr(RayReporter, "stop_requested", slow(RayReporter.stop_requested))

    with monkeypatch.context() as meanwhile:
        at_checkpoint(meanwhile, SAVED, cut)
        told = worked(tmp_path / "here", cache, run, "one")
    assert isinstance(told, DoesNotFit)
    assert told.exit_code == 3
    assert "the storage has taken nothing for" in str(told)
    assert verified(tmp_path / "here" / "checkpoints" / f"step-{SAVED:06d}").step == SAVED
    gate.open()
    assert isinstance(worked(tmp_path / "here", cache, run, "two"), Outcome)
    assert weights(tmp_path / "here") == weights(whole.root)
    assert losses(tmp_path / "here") == losses(whole.root)
    assert "final" in Register(run).newest().folders


def test_a_machine_on_which_the_copy_of_a_run_cannot_lie_is_told_before_anything_is_trained(
    gate: Gate, tmp_path: Path
) -> None:
    url, copy = "s3://bucket/runs/demo", tmp_path / "home" / "demo"
    assert fault_of_machine(url, copy) is None
    assert list(copy.iterdir()) == []
    (tmp_path / "taken").write_text("a file")
    fault = fault_of_machine(url, tmp_path / "taken" / "demo")
    assert fault is not None
    assert fault[:2] == (
        "the copy of what is kept in a bucket cannot be written (Not a directory)",
        str(tmp_path / "taken" / "demo"),
    )
    gate.shut()
    gone = fault_of_machine(url, copy)
    assert gone is not None
    assert gone[0].startswith("the storage does not answer")


def slow(asked: Callable[[RayReporter], bool]) -> Callable[[RayReporter], bool]:
    """Steps that take a while, so that the bucket is missed before the last one."""

    def waited(self: RayReporter) -> bool:
        time.sleep(0.5)
        return asked(self)

    return waited

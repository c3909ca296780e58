"""What a worker makes of errors that a fresh process would meet again: told once, with what to do, and not raised."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from disks import fill, mounted
from finished_run import small_job
from lone_worker import without_ray
from runner.config.cluster import Cluster
from runner.config.job import Job
from runner.distributed import worker
from runner.distributed.kept import Bucket
from runner.distributed.launch import _failed, _trainer
from runner.distributed.outcome import Outcome, read_outcome, write_error
from runner.distributed.ray_session import Resources
from runner.distributed.worker import Assignment, work
from runner.errors import Diverged, DoesNotFit, RunnerError, TrainingFailed, UserError
from runner.runs import MetricsLog, RunFolder, StaleAttempt, verified
from runner.runs.trackers import open_trackers
from runner.train import assembly
from runner.train.reporter import FileReporter

SAVED, STEPS = 16, 32  # a checkpoint, and the end; what is recorded between them takes more than a page of memory


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is one of one, as Ray would tell it."""
    without_ray(monkeypatch)


def worked(job: Job, root: Path, cache: Path, bucket: Bucket | None = None) -> Outcome | RunnerError | None:
    """What is told of the end of ``job`` as a worker trains it."""
    root.mkdir(exist_ok=True)
    kept = asdict(bucket) if bucket is not None else None
    assignment = Assignment(
        job.model_dump(mode="json"), str(root), str(cache), "launch", 0.0, 0.0, threads=1, bucket=kept
    )
    work(asdict(assignment))
    return read_outcome(root, "launch")


class Meanwhile(FileReporter):
    """Records to files, and lets something happen when the first checkpoint has been saved."""

    def __init__(self, folder: RunFolder, happens: Callable[[], None]) -> None:
        super().__init__(
            MetricsLog(folder.metrics_file), lambda _: open_trackers((), folder), folder.inside("stop-requested")
        )
        self._happens = happens

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        super().saved(step, checkpoint, validation_loss)
        if step == SAVED:
            self._happens()


@pytest.mark.parametrize(("leaving", "during"), [(0, "the disk is full"), (1 << 16, "was saved: need")])
def test_a_disk_that_fills_is_told_once_and_the_last_checkpoint_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, leaving: int, during: str
) -> None:
    """With nothing left a record of a step finds no room, with a little left the next save does not."""
    job = small_job(train__steps=STEPS, checkpoint__every=SAVED, validation__every=STEPS)
    monkeypatch.setattr("runner.runs.checkpoint.RESERVE_BYTES", 0)
    with mounted(tmp_path / "disk", "size=5m") as disk:
        monkeypatch.setattr(
            worker, "_reporter", lambda folder, *_: Meanwhile(folder, lambda: fill(disk, leaving=leaving))
        )
        told = worked(job, disk / "run", cache)
        assert isinstance(told, DoesNotFit)
        assert told.exit_code == 3
        assert during in str(told)
        assert " need " in str(told)
        assert " have " in str(told)
        assert "\n" not in str(told)
        assert [path.name for path in (disk / "run" / "checkpoints").iterdir()] == ["step-000016"]
        assert verified(disk / "run" / "checkpoints" / "step-000016").step == SAVED
        files = [path.name for path in disk.rglob("*")]
        assert "metrics.jsonl" in files
        assert not [name for name in files if ".tmp-" in name or name == "outcome.room"]


def test_a_disk_that_ray_finds_full_is_told_like_one_that_a_worker_finds(tmp_path: Path) -> None:
    assignment = Assignment({}, str(tmp_path), "", "launch", 0.0, 0.0, threads=1)
    text = "worker 0 failed:\n[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"
    told = _failed(RuntimeError(text), assignment)
    assert isinstance(told, DoesNotFit)
    assert str(told).startswith("the disk is full (No space left on device): need 256.0 MiB to go on")
    assert _failed(RuntimeError("worker 0 failed:\nkilled"), assignment).exit_code == 4


def no_memory_of_torch(*_: Any) -> None:
    torch.empty(2**50, dtype=torch.uint8)


def no_memory_of_python(*_: Any) -> None:
    bytearray(2**60)


@pytest.mark.parametrize("ask", [no_memory_of_torch, no_memory_of_python])
def test_a_base_that_finds_no_memory_on_a_cpu_is_told_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., None]
) -> None:
    monkeypatch.setattr(assembly, "build_model", ask)
    told = worked(small_job(track=()), tmp_path / "run", cache)
    assert isinstance(told, DoesNotFit)
    assert told.exit_code == 3
    assert str(told).startswith("out of memory in the worker (")
    assert "train.micro_batch auto, data.max_length 256" in str(told)


@pytest.mark.parametrize("error", [RuntimeError("a peer is gone"), OSError(5, "Input/output error")])
def test_what_a_fresh_process_may_do_better_is_raised(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(assembly, "build_model", failing(error))
    with pytest.raises(type(error), match=str(error.args[-1])):
        worked(small_job(), tmp_path / "run", cache)
    assert read_outcome(tmp_path / "run", "launch") is None
    assert not (tmp_path / "run" / "outcome.room").exists()


@pytest.mark.parametrize(
    ("met", "told"),
    [
        (UserError("no token for the hub", "this machine", "set HF_TOKEN"), UserError),
        (torch.OutOfMemoryError("CUDA out of memory"), DoesNotFit),
        (KeyError("mistake"), TrainingFailed),
        (StaleAttempt("a newer attempt of the run began"), StaleAttempt),
    ],
)
def test_one_of_two_ranks_raises_what_it_met_for_the_other_waits(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, met: Exception, told: type[RunnerError]
) -> None:
    without_ray(monkeypatch, rank=1, ranks=2)
    monkeypatch.setattr(worker, "_trained", failing(met))
    with pytest.raises(told):
        worked(small_job(), tmp_path / "run", cache)


def test_what_all_ranks_meet_alike_is_not_raised(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch, rank=1, ranks=2)
    monkeypatch.setattr(worker, "_trained", failing(Diverged("the loss is not finite")))
    assert isinstance(worked(small_job(), tmp_path / "run", cache), Diverged)


def test_a_group_started_again_ends_at_once_and_where_disks_are_many_the_rank_that_knows_says_it_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_trained", failing(AssertionError("nothing is trained")))
    (tmp_path / "run").mkdir()
    write_error(tmp_path / "run", "launch", UserError("no token for the hub"))
    for bucket in (None, Bucket("s3://bucket/run", "launcher", 1.0)):
        assert isinstance(worked(small_job(), tmp_path / "run", cache, bucket), UserError)
    with pytest.raises(UserError, match="no token for the hub"):
        worked(small_job(), tmp_path / "run", cache, Bucket("s3://bucket/run", "launcher", 1.0, joined=True))


def failing(error: Exception) -> Callable[..., None]:
    """A training that ends so."""

    def fails(*_: object) -> None:
        raise error

    return fails


WRITTEN = ["metrics.jsonl", "stop-requested", "outcome.room", "checkpoints", ".attempt.lock", "hang-rank-0.log"]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_worker_writes_through_no_link(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("runner.runs.checkpoint.RESERVE_BYTES", 0)
    root, outside = tmp_path / "run", tmp_path / "outside"
    root.mkdir()
    (root / name).symlink_to(outside)
    told = worked(small_job(train__steps=1, checkpoint__every=1), root, cache)
    assert isinstance(told, UserError)
    assert str(told).startswith(f"{root / name} leads out of the run's folder, to {outside}")
    assert not outside.exists()


def test_ray_keeps_what_it_keeps_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "ray").symlink_to(tmp_path.parent / "outside")
    assignment = Assignment({}, str(tmp_path), "", "launch", 0.0, 0.0, threads=1)
    resources = Resources(workers=1, cpus_per_worker=1, gpus_per_worker=0)
    with pytest.raises(UserError, match="leads out of the run's folder"):
        _trainer(assignment, Cluster(), resources, 0)

"""What every Ray Train worker runs: it finds its place, and calls the one function that trains.

Nothing of the training is decided here.
"""

import json
import tempfile
import time
import traceback
from collections.abc import Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from runner.config.disk import is_full_disk
from runner.config.job import Job
from runner.distributed.drain import Drain
from runner.distributed.kept import Bucket, Mirror, mirror_of
from runner.errors import Diverged, RunnerError, TrainingFailed
from runner.runs import JSON, STOP_FILE, MetricsLog, RunFolder
from runner.runs.attempt import StaleAttempt, newest_attempt_at
from runner.runs.full_disk import full_disk
from runner.runs.metrics import Record

if TYPE_CHECKING:
    from runner.train.reporter import Reporter
    from runner.train.result import Result
    from runner.train.world import World

TRACE_FILE = "error.log"
POINTER_FILE = "checkpoint.json"
MISTAKES = (TypeError, ValueError, LookupError, AttributeError, AssertionError, ImportError, NotImplementedError)
"""Errors that a fresh process would meet again: they are told at once and not tried again."""


@dataclass(frozen=True)
class Assignment:
    """What the driver hands to each worker; plain values, so that it travels."""

    job: dict[str, JSON]
    folder: str
    cache: str
    launch_id: str
    launched_at: float  # seconds since the epoch, when the command was typed
    ray_at: float  # the same, when Ray had started or been joined
    threads: int
    gpu_memory_gib: float | None = None
    bucket: dict[str, Any] | None = None  # the fields of a ``Bucket``, where the run is kept in one


def work(config: dict[str, Any]) -> None:
    """Train as one rank of a Ray Train group; the end, good or bad, is written to the run's outcome file.

    One of several ranks raises it as well, for the others may wait for it: Ray ends them and starts the group again,
    whose ranks find what was written and end at once.  Where they may see other disks, the one that finds it raises
    it again, until Ray hands it to the launcher.  ``Diverged`` is met by all ranks alike, and not raised.
    """
    import torch

    from runner.distributed.outcome import read_outcome, write_error, write_result
    from runner.plan.device import limit_memory

    assignment = Assignment(**config)
    folder = RunFolder(Path(assignment.folder))
    bucket = Bucket(**assignment.bucket) if assignment.bucket is not None else None
    before = read_outcome(folder.root, assignment.launch_id)
    if isinstance(before, RunnerError):  # an error has been told; a restart would only repeat it
        if bucket is not None and bucket.joined:
            raise before
        return
    torch.set_num_threads(assignment.threads)
    world = _world()
    if assignment.gpu_memory_gib is not None and world.device.type == "cuda":
        limit_memory(world.device, assignment.gpu_memory_gib)
    job = Job.model_validate(assignment.job)
    mirror: Mirror | None = None
    try:
        mirror = mirror_of(bucket, folder, keep=job.checkpoint.keep, leads=world.leads)
        result = _trained(job, folder, world, assignment, mirror)
        if mirror is not None:
            mirror.finish(hurry=result.ending == "stopped")
    except StaleAttempt:
        if world.size > 1:
            raise
        return  # a newer attempt of the run goes on; its outcome is the one that counts
    except (RunnerError, RuntimeError, MemoryError, OSError, *MISTAKES) as error:
        told = _told(error, job, folder)
        if told is None:
            raise
        write_error(folder.root, assignment.launch_id, told)
        _end(mirror)
        if world.size > 1 and not isinstance(error, Diverged):
            raise told from error
        return
    if world.leads:
        write_result(folder.root, assignment.launch_id, result)
    _end(mirror)


def _end(mirror: Mirror | None) -> None:
    """Send what is still to be sent, as far as it goes: how the run ended is among it."""
    if mirror is not None:
        with suppress(RunnerError):
            mirror.finish(hurry=True)
        mirror.last_words()


def _trained(job: Job, folder: RunFolder, world: "World", assignment: Assignment, mirror: Mirror | None) -> "Result":
    from runner.distributed.outcome import room_for_outcome
    from runner.train.loop import train

    room = room_for_outcome(folder) if world.leads else nullcontext()
    with room, closing(_reporter(folder, job, assignment, mirror, world.leads)) as reporter:
        return train(job, folder, world, reporter, cache=Path(assignment.cache))


def _world() -> "World":
    import ray.train
    import ray.train.torch

    from runner.train.world import World

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    return World(context.get_world_rank(), context.get_world_size(), device)


def _told(error: BaseException, job: Job, folder: RunFolder) -> RunnerError | None:
    """``error`` as one of ours, None where a fresh process may do better.

    The traceback of a programming mistake is kept in the run's folder.
    """
    from runner.train.memory import is_out_of_memory, out_of_memory

    if isinstance(error, RunnerError):
        return error
    if is_out_of_memory(error):
        where = f"train.micro_batch {job.train.micro_batch}, data.max_length {job.data.max_length}"
        return out_of_memory("the worker", error, where, "lower one of them, or set model.resident to nf4,")
    if is_full_disk(error):
        return full_disk(error, folder.root)
    if not isinstance(error, MISTAKES):
        return None
    trace = folder.inside(TRACE_FILE)
    trace.write_text("".join(traceback.format_exception(error)))
    return TrainingFailed(f"{type(error).__name__}: {error}", f"traceback in {trace}", "please report it")


def _reporter(folder: RunFolder, job: Job, assignment: Assignment, mirror: Mirror | None, leads: bool) -> "Reporter":
    from runner.runs.trackers import Tracker, open_trackers
    from runner.train.reporter import FileReporter, SilentReporter

    if not leads:
        return RayReporter(SilentReporter(), mirror=mirror)

    def open_tracker(step: int) -> Tracker:
        return open_trackers(job.track, folder, step=step)

    plain = FileReporter(MetricsLog(folder.metrics_file), open_tracker, folder.inside(STOP_FILE))
    return RayReporter(plain, startup=_startup(assignment, folder), mirror=mirror)


def _startup(assignment: Assignment, folder: RunFolder) -> dict[str, float]:
    """Seconds from the command until Ray had started, and from then until now.

    Of a worker that Ray started again, for which nobody typed a command, those since its process began.
    """
    now, began_at = time.time(), newest_attempt_at(folder.root)
    if began_at is not None and began_at > assignment.ray_at:
        return {"workers_s": round(now - psutil.Process().create_time(), 3)}
    at = assignment.ray_at
    return {"ray_s": round(at - assignment.launched_at, 3), "workers_s": round(now - at, 3)}


class RayReporter:
    """The plain reporter, and Ray Train told of every durable checkpoint by a pointer to it.

    A pointer, because Ray keeps only what lies in its own folder, and would refuse a run whose older
    checkpoints were pruned by anyone but itself.  A run in a bucket goes through ``mirror``, and Ray is told nothing.
    """

    def __init__(
        self, plain: "Reporter", *, startup: Mapping[str, float] | None = None, mirror: Mirror | None = None
    ) -> None:
        self._plain = plain
        self._mirror = mirror
        self._startup = dict(startup or {})
        self._drain = Drain.of_this_worker()

    def record(self, record: Record) -> None:
        """As the plain one; to where start-up time went comes what passed before the loop was called."""
        self._plain.record({**record, **self._startup} if record["kind"] == "startup" else record)

    def resumed(self, step: int) -> None:
        """As the plain one; the checkpoint has come to this machine on return."""
        self._plain.resumed(step)
        if self._mirror is not None:
            self._mirror.resumed(step)
            for line in self._mirror.skipped:
                self._plain.record({"kind": "event", "step": max(step, 0), "text": line})

    def stop_requested(self) -> bool:
        """As the plain one, when this worker's machine is about to be taken away, and when nothing can be sent."""
        unsent = self._mirror is not None and self._mirror.must_stop()
        return unsent or self._plain.stop_requested() or self._drain.announced()

    def close(self) -> None:
        """As the plain one; and look no more for what happens to the machine."""
        self._drain.close()
        self._plain.close()

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        """Report to Ray Train, on every rank; the checkpoint itself is already durable and stays where it is."""
        import ray.train

        self._plain.saved(step, checkpoint, validation_loss)
        if self._mirror is not None:
            self._mirror.saved(step)
            return
        metrics = {"step": step, "validation_loss": validation_loss}
        if ray.train.get_context().get_world_rank() != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / POINTER_FILE).write_text(json.dumps({"checkpoint": str(checkpoint)}) + "\n")
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(directory))

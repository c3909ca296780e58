"""What every Ray Train worker runs: it finds its place, and calls the one function that trains.

Nothing of the training is decided here.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.job import Job
from runner.errors import Diverged, RunnerError, UserError
from runner.runs import JSON, MetricsLog, RunFolder
from runner.runs.metrics import Record

STOP_FILE = "stop-requested"


@dataclass(frozen=True)
class Assignment:
    """What the driver hands to each worker; plain values, so that it travels."""

    job: dict[str, JSON]
    folder: str
    cache: str
    launch_id: str
    launched_at: float  # seconds since the epoch, when the command was typed
    threads: int


def work(config: dict[str, Any]) -> None:
    """Train as one rank of a Ray Train group; the end, good or bad, is written to the run's outcome file.

    Errors that every rank meets alike are written and not raised: Ray would start the group again for them.
    """
    import torch

    from runner.distributed.outcome import read_outcome, write_error, write_result
    from runner.train import train

    assignment = Assignment(**config)
    folder = RunFolder(Path(assignment.folder))
    if isinstance(read_outcome(folder.root, assignment.launch_id), RunnerError):
        return  # another rank's error has been told; a restart would only repeat it
    torch.set_num_threads(assignment.threads)
    world = _world()
    reporter = _reporter(folder, assignment, world.leads)
    try:
        result = train(Job.model_validate(assignment.job), folder, world, reporter, cache=Path(assignment.cache))
    except RunnerError as error:
        write_error(folder.root, assignment.launch_id, error)
        if world.size > 1 and not isinstance(error, UserError | Diverged):
            raise
        return
    if world.leads:
        write_result(folder.root, assignment.launch_id, result)


def _world() -> Any:
    import ray.train
    import ray.train.torch

    from runner.train import World

    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    return World(context.get_world_rank(), context.get_world_size(), device)


def _reporter(folder: RunFolder, assignment: Assignment, leads: bool) -> Any:
    from runner.runs.trackers import open_trackers
    from runner.train.reporter import FileReporter, SilentReporter

    if not leads:
        return RayReporter(SilentReporter())
    names = Job.model_validate(assignment.job).track
    plain = FileReporter(MetricsLog(folder.metrics_file), open_trackers(names, folder), folder.inside(STOP_FILE))
    return RayReporter(plain, {"ray_s": round(time.time() - assignment.launched_at, 3)})


class RayReporter:
    """The plain reporter, and Ray Train told of every durable checkpoint where it lies."""

    def __init__(self, plain: Any, startup: Mapping[str, float] | None = None) -> None:
        self._plain = plain
        self._startup = dict(startup or {})

    def record(self, record: Record) -> None:
        """As the plain one; to where start-up time went comes what passed before the loop was called."""
        self._plain.record({**record, **self._startup} if record["kind"] == "startup" else record)

    def resumed(self, step: int) -> None:
        """As the plain one."""
        self._plain.resumed(step)

    def stop_requested(self) -> bool:
        """As the plain one."""
        return bool(self._plain.stop_requested())

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        """Report to Ray Train on every rank; the folder is already durable and stays where it is."""
        import ray.train

        self._plain.saved(step, checkpoint, validation_loss)
        ray.train.report(
            {"step": step, "validation_loss": validation_loss},
            checkpoint=ray.train.Checkpoint.from_directory(str(checkpoint)) if self._leads() else None,
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )

    def _leads(self) -> bool:
        import ray.train

        return bool(ray.train.get_context().get_world_rank() == 0)

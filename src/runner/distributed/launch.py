"""Starting a job through Ray Train, showing how it goes, stopping it on a signal, and telling how it ended.

What the workers do is in ``worker``; starting and checking Ray itself in ``ray_session``.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from runner.config.cluster import Cluster
from runner.config.disk import is_full_disk
from runner.config.job import Job
from runner.config.load import job_hash
from runner.distributed.kept import bucket_of, check_seen, check_still_ours, linked, open_kept_run
from runner.distributed.outcome import Outcome, read_outcome
from runner.distributed.ray_session import RAY_THREAD, Resources, living_nodes, ray_session
from runner.distributed.signals import StopSignals
from runner.distributed.worker import Assignment, work
from runner.errors import Interrupted, RunnerError, Stopped, TrainingFailed
from runner.runs import STOP_FILE, JobRecord, OpenRun, Resume
from runner.runs.folder import RunFolder
from runner.runs.full_disk import full_disk
from runner.runs.state import moment
from runner.runs.trackers import check_trackers

RAY_FOLDER = "ray"  # what Ray Train keeps while it runs; never read
DRAINED = "a machine is taken away"
Follow = Callable[[RunFolder, Callable[[], bool]], None]


def launch(job: Job, cluster: Cluster, *, resume: Resume, follow: Follow, launched_at: float, cache: Path) -> Outcome:
    """Run ``job`` on ``cluster`` to its end and return how it ended.

    ``follow(folder, ended)`` is called in a thread to show the run's records until ``ended()``.  SIGTERM and
    Ctrl-C save and raise ``Stopped`` or ``Interrupted``; a second Ctrl-C ends at once.  Raises whatever
    ``RunnerError`` the workers met.
    """
    check_trackers(job.track)
    job = with_absolute_paths(job)
    record = JobRecord(job.model_dump(mode="json"), job_hash(job))
    with open_kept_run(cluster.storage, job.name, job=record, resume=resume, cache=cache) as run:
        if run.status == "finished":
            return _finished_before(run)
        if run.status == "new":
            run.state = replace(run.state, began=moment(launched_at))
        run.folder.inside(STOP_FILE).unlink(missing_ok=True)
        # Ray takes SIGTERM for itself when it starts: ours must come after
        with ray_session(cluster) as resources, StopSignals(run.folder.inside(STOP_FILE)) as signals:
            check_seen(run, living_nodes())
            assignment = _assignment(job, run, cluster, resources, cache, launched_at)
            with linked(run, joined=cluster.address is not None):
                failure = _fit(assignment, cluster, resources, signals, lambda ended: follow(run.folder, ended))
        return _settled(run, job, assignment, signals, failure)


def with_absolute_paths(job: Job) -> Job:
    """Local folders named from the root: the workers' working directory is another."""

    def absolute(name: str) -> str:
        path = Path(name).expanduser()
        return str(path.resolve()) if path.exists() and not name.startswith("builtin:") else name

    model = job.model.model_copy(update={"id": absolute(job.model.id)})
    data = job.data.model_copy(update={"id": absolute(job.data.id)})
    return job.model_copy(update={"model": model, "data": data})


def _assignment(
    job: Job, run: OpenRun, cluster: Cluster, resources: Resources, cache: Path, launched_at: float
) -> Assignment:
    bucket = bucket_of(run, cluster)
    return Assignment(
        job=job.model_dump(mode="json"),
        folder=str(run.folder.root),
        cache=str(cache.expanduser().resolve()),
        launch_id=uuid.uuid4().hex,
        launched_at=launched_at,
        ray_at=time.time(),
        threads=max(1, resources.cpus_per_worker),
        gpu_memory_gib=cluster.gpu_memory_gib,
        bucket=asdict(bucket) if bucket is not None else None,
    )


def _fit(
    assignment: Assignment,
    cluster: Cluster,
    resources: Resources,
    signals: StopSignals,
    follow: Callable[[Callable[[], bool]], None],
) -> RunnerError | None:
    """Run the workers in a thread, so that this one, the main one, can answer signals; what Ray says that they met."""
    trainer, failures = _trainer(assignment, cluster, resources, 0), list[BaseException]()

    def fit() -> None:
        try:
            fit_in_turns(trainer, lambda turn: _trainer(assignment, cluster, resources, turn), cluster.max_failures)
        except Exception as error:  # noqa: BLE001 - Ray's errors have no common class; it is told by ``_settled``
            failures.append(error)

    trained = threading.Thread(target=fit, name=RAY_THREAD, daemon=True)
    trained.start()
    shown = threading.Thread(target=follow, args=(lambda: not trained.is_alive(),), name="progress", daemon=True)
    shown.start()
    while trained.is_alive():
        trained.join(timeout=0.2)
        signals.raise_if_repeated()
    shown.join(timeout=5.0)
    return _failed(failures[0], assignment) if failures else None


def fit_in_turns(trainer: Any, another: Callable[[int], Any], times: int) -> None:
    """Fit ``trainer``; and, as many ``times`` at most, ``another`` where Ray failed and not the workers.

    Ray Train 2.60 starts dead workers again itself, but fails when an actor of its own was on the node that is lost.
    """
    import ray.train

    for turn in range(1, times + 1):
        try:
            trainer.fit()
        except ray.train.WorkerGroupError:
            raise
        except (ray.train.TrainingFailedError, ray.exceptions.RayActorError):
            trainer = another(turn)
        else:
            return
    trainer.fit()


def _trainer(assignment: Assignment, cluster: Cluster, resources: Resources, turn: int) -> Any:
    import ray.train
    import ray.train.torch

    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    least = resources.min_workers
    return ray.train.torch.TorchTrainer(
        work,
        train_loop_config=asdict(assignment),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers if least is None else (least, resources.workers),
            elastic_resize_monitor_interval_s=cluster.resize_s,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=per_worker,
        ),
        run_config=ray.train.RunConfig(
            # a name of its own for each turn: Ray restores by name, and our checkpoints are what is resumed from
            name=f"launch-{assignment.launch_id[:12]}-{turn}",
            storage_path=str(RunFolder(Path(assignment.folder)).inside(RAY_FOLDER)),
            failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures, controller_failure_limit=2),
        ),
    )


def _settled(
    run: OpenRun, job: Job, assignment: Assignment, signals: StopSignals, failure: RunnerError | None
) -> Outcome:
    """The outcome, recorded in the run's state; errors of the workers are raised here.

    ``failure`` is Ray's word on how they ended; what they have written themselves goes before it.
    """
    outcome = read_outcome(run.folder.root, assignment.launch_id)
    steps = job.train.steps
    if outcome is None:
        check_still_ours(run)
        outcome = failure or TrainingFailed(
            "the workers ended without a word", str(run.folder.root), "run the command again"
        )
    if isinstance(outcome, RunnerError):
        run.record("failed", step=run.state.step, steps=steps, reason=str(outcome))
        raise outcome
    if outcome.ending != "stopped":
        run.record("finished", step=outcome.step, steps=steps, reason=outcome.ending)
        return outcome
    run.record("stopped", step=outcome.step, steps=steps, reason=signals.name or DRAINED)
    kind = Interrupted if signals.name == "SIGINT" else Stopped
    if not outcome.step:
        raise kind("stopped before the first step", "nothing had been trained", "run it again")
    raise kind(f"stopped after step {outcome.step:,}, everything is saved", run.place, "run it again to go on")


def _finished_before(run: OpenRun) -> Outcome:
    ending = "plateau" if run.state.reason == "plateau" else "finished"
    return Outcome(run.folder.root, ending, run.state.step, finished_before=True)  # type: ignore[arg-type]  # both are endings


def _failed(error: BaseException, assignment: Assignment) -> RunnerError:
    """What a worker raised, where it is one of ours; else the last line of what Ray says of workers or of its files."""
    of_ranks: dict[int, Exception] = getattr(error, "worker_failures", {})
    for _, raised in sorted(of_ranks.items()):
        if isinstance(raised, RunnerError):
            return raised
    if is_full_disk(error):
        return full_disk(error, Path(assignment.folder))
    lines = [line for line in str(error).splitlines() if line.strip()]
    return TrainingFailed(
        f"the workers failed ({lines[-1].strip() if lines else type(error).__name__})",
        assignment.folder,
        "see the log with --debug; run the same command again to go on from the last checkpoint",
    )

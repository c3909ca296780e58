"""``python -m runner.distributed.bench JOB``: what Ray Train costs a training step, beside the same loop without Ray.

Both train the same job for as many steps, in turns, each in a new process.
"""

import multiprocessing
import shutil
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from runner.config.cluster import Cluster, load_cluster
from runner.config.job import Job
from runner.config.load import load_job
from runner.distributed.launch import launch, with_absolute_paths
from runner.errors import RunnerError, TrainingFailed
from runner.report.curve import of_kind
from runner.report.facts import speeds
from runner.runs import STOP_FILE, MetricsLog, RunFolder, read_metrics
from runner.runs.trackers import open_trackers

ROUNDS = 2


def benchmark(
    job: Annotated[
        Path | None, typer.Argument(metavar="JOB", help="Job file; the built-in demo when left out.")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--override", "-o", metavar="KEY=VALUE")] = None,
    cluster: Annotated[Path | None, typer.Option("--cluster", metavar="FILE", help="Scaling profile.")] = None,
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where the runs are kept.")] = Path(
        "runs/benchmark"
    ),
) -> None:
    """Print the median step of both, and how much longer Ray's is."""
    try:
        settings = with_absolute_paths(load_job(job, list(override or ())))
        profile = load_cluster(cluster)
        steps = {"alone": list[float](), "ray": list[float]()}
        for number in range(ROUNDS):
            steps["alone"] += _alone(settings, profile, folder.resolve() / f"alone-{number}")
            steps["ray"] += _through_ray(settings, profile, folder.resolve() / f"ray-{number}")
    except RunnerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    alone, ray = (settings.train.tokens_per_step / statistics.median(rates) for rates in steps.values())
    typer.echo(f"{ROUNDS} x {settings.train.steps} steps each, medians after the warm-up")
    typer.echo(
        f"the loop alone {1000 * alone:.2f} ms a step, through Ray Train {1000 * ray:.2f} ms: {ray / alone - 1:+.2%}"
    )


def _alone(job: Job, cluster: Cluster, root: Path) -> list[float]:
    """Tokens a second of each step, without Ray."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(job, cluster, root))
    process.start()
    process.join()
    if process.exitcode:
        raise TrainingFailed("the loop alone failed", str(root), "see what it says above")
    return _rates(root)


def _train(job: Job, cluster: Cluster, root: Path) -> None:
    import torch

    from runner.plan.device import limit_memory
    from runner.train.loop import train
    from runner.train.reporter import FileReporter
    from runner.train.world import World

    world, folder = World(), RunFolder(root)
    if cluster.cpus_per_worker is not None:
        torch.set_num_threads(cluster.cpus_per_worker)
    if cluster.gpu_memory_gib is not None and world.device.type == "cuda":
        limit_memory(world.device, cluster.gpu_memory_gib)

    def open_tracker(step: int) -> Any:
        return open_trackers(job.track, folder, step=step)

    with closing(FileReporter(MetricsLog(folder.metrics_file), open_tracker, root / STOP_FILE)) as reporter:
        train(job, folder, world, reporter, cache=Path("~/.cache/runner").expanduser())


def _through_ray(job: Job, cluster: Cluster, root: Path) -> list[float]:
    """The same as ``runner train`` does it."""
    shutil.rmtree(root, ignore_errors=True)
    profile = cluster.model_copy(update={"storage": str(root)})
    cache = Path("~/.cache/runner")
    launch(job, profile, resume="never", follow=lambda *_: None, launched_at=time.time(), cache=cache)
    return _rates(root / job.name)


def _rates(root: Path) -> list[float]:
    return speeds(of_kind(read_metrics(root / "metrics.jsonl"), "train"))


if __name__ == "__main__":
    typer.run(benchmark)

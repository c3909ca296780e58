"""``runner train``: the job of the command line, run to its end.

Starting Ray and training is ``runner.distributed``'s.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runner.cli.options import (
    CACHE,
    RUNS,
    ClusterFile,
    JobFile,
    Overrides,
    Storage,
    Workers,
    named_cluster,
    named_job,
)

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.config.job import Job
    from runner.distributed import Outcome


def train(
    job: JobFile = None,
    override: Overrides = None,
    cluster: ClusterFile = None,
    workers: Workers = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run's folder.")] = None,
    resume: Annotated[
        Literal["auto", "never", "must"],
        typer.Option(help="auto goes on with an unfinished run of this name; never starts a new one; must goes on."),
    ] = "auto",
    storage: Storage = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and end.")] = False,
) -> None:
    """Train a job, from its file to a tuned adapter.

    Typed again, it goes on where it was stopped.
    """
    launched_at = time.time()
    settings = named_job(job, override, name)
    profile = named_cluster(cluster, workers, storage)
    typer.echo(described(settings, profile))
    if dry_run:
        return
    from runner.cli.watching import Watching
    from runner.distributed import launch

    follow = Watching(settings).follow
    outcome = launch(settings, profile, resume=resume, follow=follow, launched_at=launched_at, cache=CACHE)
    typer.echo(_ending(outcome))


def described(job: "Job", cluster: "Cluster") -> str:
    """The resolved job, one section a line, and the numbers that follow from it with their formulas."""
    values = job.model_dump(mode="json")
    lines = [f"{key}: {_flow(value)}" for key, value in values.items()]
    step, length = job.train.tokens_per_step, job.data.max_length
    lines += [
        "",
        f"{job.method} of {job.model.id} on {job.data.id}, {cluster.workers} "
        f"{'worker' if cluster.workers == 1 else 'workers'}, runs kept in {cluster.storage}",
        f"tokens a step = {job.buffers_per_step:,} buffers x {length:,} = {step:,}",
        f"tokens in all = {job.train.steps:,} steps x {step:,} = {job.train.steps * step:,}",
    ]
    return "\n".join(lines)


def _flow(value: object) -> str:
    """YAML on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def _ending(outcome: "Outcome") -> str:
    """How the run ended, where its results lie, and what to type next."""
    folder = outcome.folder
    if outcome.finished_before:
        lines = [f"{folder.name} had ended before, after step {outcome.step:,}; --resume never trains it anew"]
    elif outcome.ending == "plateau":
        lines = [f"ended on a plateau found at step {outcome.plateau_step}, after its decay, at step {outcome.step:,}"]
    else:
        lines = [f"ended after step {outcome.step:,}"]
    if outcome.best is not None:
        lines.append(f"lowest validation loss {outcome.best.loss:.4f}, after step {outcome.best.step:,}")
    weights = [path for path in (folder / "final", folder / "best") if path.is_dir()]
    lines += ["", *(f"{path.name:8}{path}" for path in weights), f"{'record':8}{folder / 'metrics.jsonl'}"]
    storage = "" if folder.parent == Path(RUNS).resolve() else f" --storage {folder.parent}"
    return "\n".join([*lines, "", f"next: runner show {folder.name}{storage}"])

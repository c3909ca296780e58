"""``runner train``: the job of the command line, run to its end.

Starting Ray and training is ``runner.distributed``'s.
"""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runner.cli.options import (
    CACHE,
    Address,
    ClusterFile,
    JobFile,
    Overrides,
    Storage,
    Workers,
    named_cluster,
    named_job,
)
from runner.cli.ready import make_ready

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.config.job import Job
    from runner.report import Command
    from runner.runs import LoadedRun


def train(
    job: JobFile = None,
    override: Overrides = None,
    cluster: ClusterFile = None,
    workers: Workers = None,
    address: Address = None,
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
    profile = named_cluster(cluster, workers, storage, address=address)
    typer.echo(f"{described(settings, profile)}\n")
    if dry_run:
        from runner.cli.plan import show_plan

        show_plan(settings, profile, measure=False)
        return
    from runner.distributed.ray_session import check_local_size
    from runner.distributed.signals import sigterm_stops

    check_local_size(profile)
    with sigterm_stops():
        make_ready(settings, profile)
        from runner.cli.watching import Watching
        from runner.distributed import launch

        follow = Watching(settings).follow
        outcome = launch(settings, profile, resume=resume, follow=follow, launched_at=launched_at, cache=CACHE)
    if outcome.finished_before:
        typer.echo(f"{outcome.folder.name} had ended before; --resume never trains it anew, as {outcome.folder.name}-2")
    typer.echo("")
    show_run(outcome.folder.parent, outcome.folder.name)


def described(job: "Job", cluster: "Cluster") -> str:
    """The resolved job, one section a line, and the numbers that follow from it with their formulas."""
    values = job.model_dump(mode="json")
    lines = [f"{key}: {_flow(value)}" for key, value in values.items()]
    step, length = job.train.tokens_per_step, job.data.max_length
    lines += [
        "",
        f"{job.method} of {job.model.id} on {job.data.id}, {cluster.workers_words}, runs kept in {cluster.storage}",
        f"tokens a step = {job.buffers_per_step:,} buffers x {length:,} = {step:,}",
        f"tokens in all = {job.train.steps:,} steps x {step:,} = {job.train.steps * step:,}",
    ]
    return "\n".join(lines)


def _flow(value: object) -> str:
    """YAML on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def show_run(storage: Path, name: str) -> None:
    """Print a run's summary, and draw its loss curve into its folder."""
    from runner.report import style_of, summary, write_curve
    from runner.runs import load_run

    run = load_run(storage, name)
    write_curve(run.records, run.folder.curve_file, title=name)
    typer.echo(summary(run, style_of(sys.stdout), _after(run)))


def _after(run: "LoadedRun") -> "list[Command]":
    """What to type after a run in its state."""
    from runner.report import Command
    from runner.report.commands import UNFINISHED, next_commands, typed

    commands = [*next_commands(run, evaluated=False)]
    if run.summary.state in UNFINISHED:
        return commands
    if run.folder.events.is_dir():
        curves = shlex.join(["tensorboard", "--logdir", typed(run.folder.events)])
        commands.append(Command(curves, "shows the curves in a browser"))
    if run.job.get("name") == "demo":
        commands.append(Command("runner train jobs/starcoder2-3b.yaml", "the same with the real model, on a GPU"))
    return commands

"""``runner data``: what becomes of every row and token of a job's data, and preparing it by many processes.

Counting and showing is done in ``runner.data``.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.options import CACHE, Address, ClusterFile, JobFile, Overrides, named_cluster, named_job
from runner.cli.ready import prepared_data, reach_model

if TYPE_CHECKING:
    from runner.config.job import Job
    from runner.data import PreparedData
    from runner.model.tokenizer import Encoder


def data(
    job: JobFile = None,
    override: Overrides = None,
    preview: Annotated[
        int, typer.Option("--preview", metavar="N", min=0, help="Show N documents, with what is learned of them.")
    ] = 0,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Share the work out, unit by unit; typed again it goes on where it was.")
    ] = False,
    cluster: ClusterFile = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="Processes of one core that prepare; all cores if left out."
        ),
    ] = None,
    address: Address = None,
) -> None:
    """Show what becomes of the rows and tokens of a job's data."""
    settings = named_job(job, override)
    encoder, prepared = _prepared_by_many(settings, cluster, workers, address) if prepare else prepared_data(settings)
    from runner.data import preview as shown
    from runner.data import render

    typer.echo(render(prepared.ledger))
    if preview:
        typer.echo(f"\n{shown(prepared, encoder, preview)}")


def _prepared_by_many(
    job: "Job", cluster: Path | None, workers: int | None, address: str | None
) -> "tuple[Encoder, PreparedData]":
    """``prepared_data`` by Ray tasks, on this machine or on the cluster named."""
    profile = named_cluster(cluster, None, None, address=address)
    reach_model(job.model)
    from runner.cli.ticker import Ticker
    from runner.data import prepare
    from runner.distributed.crew import ray_crew
    from runner.model.tokenizer import load_encoder

    encoder = load_encoder(job.model)
    return encoder, prepare(
        job.data,
        encoder,
        cache=CACHE.expanduser(),
        progress=Ticker(sys.stderr),
        hire=lambda: ray_crew(profile, workers=workers),
    )

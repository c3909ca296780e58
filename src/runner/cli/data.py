"""``runner data``: what becomes of every row and token of a job's data.

Counting and showing is done in ``runner.data``.
"""

from typing import Annotated

import typer

from runner.cli.options import JobFile, Overrides, named_job
from runner.cli.ready import prepared_data


def data(
    job: JobFile = None,
    override: Overrides = None,
    preview: Annotated[
        int, typer.Option("--preview", metavar="N", min=0, help="Show N documents, with what is learned of them.")
    ] = 0,
) -> None:
    """Show what becomes of the rows and tokens of a job's data."""
    settings = named_job(job, override)
    encoder, prepared = prepared_data(settings)
    from runner.data import preview as shown
    from runner.data import render

    typer.echo(render(prepared.ledger))
    if preview:
        typer.echo(f"\n{shown(prepared, encoder, preview)}")

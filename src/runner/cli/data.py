"""``runner data``: what becomes of every row and token of a job's data.

Counting and showing is done in ``runner.data``.
"""

import sys
from typing import Annotated

import typer

from runner.cli.options import CACHE, JobFile, Overrides, named_job
from runner.cli.ticker import Ticker


def data(
    job: JobFile = None,
    override: Overrides = None,
    preview: Annotated[
        int, typer.Option("--preview", metavar="N", min=0, help="Show N documents, with what is learned of them.")
    ] = 0,
) -> None:
    """Show what becomes of the rows and tokens of a job's data."""
    settings = named_job(job, override)
    from runner.data import prepare
    from runner.data.ledger import render
    from runner.data.preview import preview as shown
    from runner.model.tokenizer import load_encoder

    encoder = load_encoder(settings.model)
    prepared = prepare(settings.data, encoder, cache=CACHE.expanduser(), progress=Ticker(sys.stderr))
    typer.echo(render(prepared.ledger))
    if preview:
        typer.echo(f"\n{shown(prepared, encoder, preview)}")

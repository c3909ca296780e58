"""``runner runs`` and ``runner show``: what has been trained, and how one run went.

Reading runs is ``runner.runs``'s, drawing them ``runner.report``'s.
"""

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.options import Storage, kept_in
from runner.cli.train import show_run

if TYPE_CHECKING:
    from runner.runs.listing import RunSummary

REASON = 60  # columns; all of it is shown by `runner show`


def runs(storage: Storage = None) -> None:
    """List the runs, the last changed first."""
    from runner.config.storage import is_url
    from runner.runs.listing import list_runs

    folder = kept_in(storage)
    found = list_runs(folder)
    if not found:
        place = storage if storage and is_url(storage) else folder.absolute()
        typer.echo(f"no runs in {place}; start one with: runner train")
        return
    widest = max(4, *(len(summary.name) for summary in found))
    typer.echo(f"{'run':{widest}}  {'state':8}  {'steps':>13}  {'best loss':>9}  changed (UTC)        reason")
    for summary in found:
        typer.echo(_row(summary, widest).rstrip())


def _row(summary: "RunSummary", widest: int) -> str:
    steps = f"{summary.step:,}/{summary.steps:,}"
    best = f"{summary.best_validation_loss:.4f}" if summary.best_validation_loss is not None else "-"
    changed = summary.changed[:19].replace("T", " ")
    reason = textwrap.shorten(summary.reason, REASON)
    return f"{summary.name:{widest}}  {summary.state:8}  {steps:>13}  {best:>9}  {changed:19}  {reason}"


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, as `runner runs` lists them.")],
    storage: Storage = None,
) -> None:
    """Show one run, its losses and where its results lie."""
    show_run(kept_in(storage, run=run), run)

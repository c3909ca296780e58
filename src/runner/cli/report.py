"""``runner report`` and ``runner compare``: a run, a search, or several runs as one page with its plots beside it.

What a page says is ``runner.report``'s and ``runner.search``'s.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.options import RUNS, Storage, kept_in
from runner.cli.search import SEARCHES
from runner.errors import UserError

if TYPE_CHECKING:
    from runner.data import Ledger
    from runner.report.run_page import RunPage
    from runner.runs import LoadedRun, RunFolder

Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Page to write; in the run's own folder when left out."),
]
SEARCH_FILE = "search.yaml"  # a folder with it is a search's, though it has a job too
LONGEST_NAME = 80  # letters of the runs' names in a comparison's file name


def report(
    run: Annotated[str, typer.Argument(metavar="NAME", help="Name of a run or of a search.")],
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="FOLDER|URL", help=f"Where it is kept; {RUNS}/ and {SEARCHES}/ when left out."
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Write the page of a run or of a search, with its plots as SVG and PNG files beside it.

    Where a run and a search have the name, each gets its page.
    """
    trained, searched = _found(run, storage)
    if not trained and not searched:
        places = storage or f"{RUNS}/ and {SEARCHES}/"
        raise UserError(f"there is no run and no search {run}", places, "runner runs lists the runs")
    if trained and searched and output is not None:
        raise UserError(f"a run and a search are named {run}", "--output", "name one of them with --storage")
    for folder in trained:
        typer.echo(f"page {write_report(folder, output)}")
    for search in searched:
        typer.echo(f"page {_write_search(search.root, output)}")


def write_report(folder: "RunFolder", output: Path | None = None) -> Path:
    """Write the page of the run in ``folder``; returns where it lies."""
    from runner.report.png import plots_folder
    from runner.report.run_page import write_run_page
    from runner.runs import load_run

    folder.inside(plots_folder(folder.report_file).name)  # raises where a link leads out
    page = page_of(load_run(folder.root.parent, folder.name))
    return write_run_page(_place(output, folder.report_file), page)[0]


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of runs; of one, before and after.")],
    storage: Storage = None,
    output: Output = None,
) -> None:
    """Write one page that compares runs side by side, with its plots beside it."""
    from runner.report.compare_page import write_compare_page
    from runner.runs import load_run

    names = tuple(dict.fromkeys(runs))
    (root,) = {kept_in(storage, run=name) for name in names}  # each run of a bucket is brought to the same folder
    pages = [page_of(load_run(root, name)) for name in names]
    own = root / f"compare-{'-'.join(names)[:LONGEST_NAME]}.html"
    typer.echo(f"page {write_compare_page(_place(output, own), pages)[0]}")


def page_of(run: "LoadedRun") -> "RunPage":
    """Everything known of ``run``, with the commands that go on from it."""
    from runner.report.commands import again, evaluate, next_commands
    from runner.report.evaluated import read_evaluated
    from runner.report.run_page import RunPage

    evaluations = read_evaluated(run.folder.evaluations)
    return RunPage(
        run=run,
        evaluations=evaluations,
        ledger=_ledger(run),
        evaluate=evaluate(run.folder).text,
        again=again(run.folder).text,
        next_commands=next_commands(run, evaluated=bool(evaluations)),
    )


def _ledger(run: "LoadedRun") -> "Ledger | None":
    """The ledger of the run's data, if the run has kept one."""
    from runner.data import Ledger

    try:
        return Ledger.from_json(run.folder.ledger_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _found(name: str, storage: str | None) -> "tuple[list[RunFolder], list[RunFolder]]":
    """The run and the search of this name, those that there are."""
    from runner.runs import RunFolder

    run, search = (RunFolder.at(kept_in(storage, kept, run=name), name) for kept in (RUNS, SEARCHES))
    is_search = (search.root / SEARCH_FILE).is_file()
    is_run = run.job_file.is_file() and not (run.root / SEARCH_FILE).is_file()
    return ([run] if is_run else []), ([search] if is_search else [])


def _write_search(root: Path, output: Path | None) -> Path:
    """Conclude from the journal again; returns where the page lies, or its copy with its plots."""
    from runner.config.load_search import load_search
    from runner.report.png import plots_folder
    from runner.search.conclusion import conclude
    from runner.search.folder import SearchFolder
    from runner.search.journal import read_journal, study_in
    from runner.search.space import space_of

    folder = SearchFolder(root)
    conclude(folder, space_of(load_search(folder.search_file, [], {})), study_in(read_journal(folder.journal_file)))
    if output is None:
        return folder.page_file
    page = _place(output, folder.page_file)
    shutil.copyfile(folder.page_file, page)
    if plots_folder(folder.page_file).is_dir():
        shutil.copytree(plots_folder(folder.page_file), plots_folder(page), dirs_exist_ok=True)
    return page


def _place(output: Path | None, own: Path) -> Path:
    """Where the page goes; ``UserError`` where it cannot."""
    if output is None:
        return own
    path = output.expanduser()
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"--output is {path}", "", "name a file in a folder that exists")
    return path

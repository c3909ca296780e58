"""The page of a run: what it learned to do, how, from what, and how to make it again.

Its sections are ``ability``'s, ``examples``'s, ``learning``'s and ``page_cards``'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from runner.data.ledger import Ledger
from runner.report.ability import ability, evaluation_plots, slug
from runner.report.commands import Command
from runner.report.drawing import Plot
from runner.report.evaluated import Evaluated
from runner.report.examples import examples
from runner.report.facts import state_of
from runner.report.learning import learning, learning_plots
from runner.report.page_cards import data_card, machine_card, measured_card
from runner.report.page_parts import WIDE, commands, document, figures, header
from runner.report.page_style import ANSWERS
from runner.report.png import write_plots
from runner.report.run_verdict import key_figures, verdict_of
from runner.runs import LoadedRun
from runner.runs.durable import write_file


@dataclass(frozen=True)
class RunPage:
    """A run and what is known beside its folder's records.

    ``evaluations`` have the one that counts most first (``evaluated.ordered``); ``ledger`` is None where the prepared
    data is gone; ``evaluate`` is the command that measures ability, ``again`` the one that trains the run anew.
    """

    run: LoadedRun
    evaluations: tuple[Evaluated, ...] = ()
    ledger: Ledger | None = None
    evaluate: str = ""
    again: str = ""
    next_commands: tuple[Command, ...] = ()


def write_run_page(path: Path, page: RunPage) -> tuple[Path, ...]:
    """Write the page to ``path`` and its plots into a folder beside it as SVG, and as PNG where that can be made.

    Returns every file, the page first.  Each is written atomically; the same page gives the same bytes.
    """
    files = write_plots(path, run_plots(page))
    write_file(path, run_page_html(page).encode())
    return (path, *files)


def run_plots(page: RunPage) -> tuple[Plot, ...]:
    """Every plot of the page, in its wide layout."""
    draws = [draw for found in page.evaluations for draw in evaluation_plots(found)]
    return tuple(draw(WIDE) for draw in (*draws, *learning_plots(page.run.records)))


def run_page_html(page: RunPage) -> str:
    """The page as text."""
    return document(f"{page.run.summary.name}: what was learned", _parts(page), style=ANSWERS)


def _parts(page: RunPage) -> Iterator[str]:
    run = page.run
    verdict = verdict_of(run, page.evaluations, page.evaluate)
    yield header(f"run {run.summary.name}, {state_of(run.summary)}", verdict)
    yield figures(key_figures(run, page.evaluations))
    yield commands([*page.next_commands, *([Command(page.again, "the run again")] if page.again else [])])
    for number, found in enumerate(page.evaluations):
        yield from _evaluation(found, first=number == 0)
    told = "".join(learning(run.records))
    if told:
        yield f'<h2 id="learning">How it learned</h2>{told}'
    yield f'<h2 id="data">What it learned from</h2>{data_card(run, page.ledger)}'
    yield f'<h2 id="machine">What it ran on</h2>{machine_card(run)}'
    yield "<footer>Losses are in nats a token over the learned tokens. Intervals hold 95 %.</footer>"


def _evaluation(found: Evaluated, *, first: bool) -> Iterator[str]:
    """One evaluation; of all but the first the answers are folded."""
    evaluation = found.evaluation
    place = slug(evaluation)
    yield f'<h2 id="{place}">What it solves: {escape(evaluation.suite.name)}</h2>'
    if not first:
        yield f"<p>{escape(evaluation.verdict)}</p>"
    yield from ability(found)
    answers = "".join(examples(found))
    if answers:
        yield f"<details{' open' if first else ''} class=part><summary>Six problems with both answers</summary>"
        yield f"{answers}</details>"
    yield "<details class=part><summary>How it was measured</summary>"
    yield f"{measured_card(evaluation)}{commands([Command(evaluation.command, 'measures it again')])}</details>"

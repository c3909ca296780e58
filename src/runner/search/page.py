"""The answer of a search as one HTML page that needs nothing else, and its plots as SVG files beside it.

What is drawn is ``plots``'s, what is said ``verdict``'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from runner.report import Command
from runner.report.drawing import Plot
from runner.report.page_parts import BROAD, WIDE, Figure, commands, document, drawn, figures, header
from runner.report.png import write_plots
from runner.runs.durable import write_file
from runner.search.answer import Answer
from runner.search.importance import FEWEST_PAIRS, METHOD
from runner.search.pairs import Pair
from runner.search.parallel import parallel
from runner.search.plots import history, importance, slices, stop_curves, trade
from runner.search.records import Study
from runner.search.tables import pairs_table, seeds_table, stops_table
from runner.search.wording import counted, ending, gap, loss, span


@dataclass(frozen=True)
class SearchPage:
    """What a page tells."""

    name: str
    study: Study
    answer: Answer
    again: str  # the command that makes the search again
    next_commands: tuple[Command, ...]
    facts: tuple[str, ...] = ()  # machine, versions, date: a short text each


def write_page(path: Path, page: SearchPage) -> tuple[Path, ...]:
    """Write the page to ``path`` and its plots into a folder beside it; returns every file, the page first.

    Each file is written atomically.  A search that has measured nothing gives a page without plots.
    """
    files = write_plots(path, _files(page))
    write_file(path, page_html(page).encode())
    return path, *files


def page_html(page: SearchPage) -> str:
    """The page as text."""
    return document(f"{page.name}: the answer of a search", _parts(page))


def _parts(page: SearchPage) -> Iterator[str]:
    study, answer = page.study, page.answer
    yield header(f"search {page.name}", answer.verdict)
    if answer.best is not None:
        yield _figures(study, answer, answer.best)
    yield commands([*page.next_commands, Command(page.again, "the search again")])
    if answer.remarks:
        yield f"<h2>How sure this is</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in answer.remarks)}</ul>"
        yield seeds_table(answer)
    if answer.best is not None:
        yield from _plots(study, answer)
    if study.trials:
        yield '<h2>Everything measured</h2><p class="note">A click on a heading sorts by it.</p>'
        yield pairs_table(study, answer)
    facts = "".join(f"<br>{escape(fact)}" for fact in page.facts)
    yield (
        "<footer>Losses are in nats a token over the held-out questions. Minutes are predicted for the configuration "
        "trained alone at its own size, by what a step took in this search with its share of measuring."
        f"{facts}</footer>"
    )


def _figures(study: Study, answer: Answer, best: Pair) -> str:
    shown = [Figure("lowest loss", loss(best.loss), f"step {ending(best)}, {span(best.minutes)}", "best-ink")]
    earliest = answer.earliest
    if earliest is not None and earliest != best:
        told = f"step {ending(earliest)}, {span(earliest.minutes)}"
        shown.append(Figure("as good, earliest", loss(earliest.loss), told, "early-ink"))
    base = "untuned base" if answer.objective == "validation" else "untuned base, all tokens"
    shown.append(Figure(base, loss(answer.base_loss), counted(answer.questions, "held-out question")))
    if answer.noise is not None:
        shown.append(Figure("noise", gap(answer.noise.band), "differences below it are luck"))
    shown.append(Figure("measured", counted(len(answer.pairs), "pair"), f"of {counted(len(study.trials), 'trial')}"))
    tokens = sum(trial.rungs[-1].trained_tokens for trial in study.trials if trial.rungs)
    seconds = sum(trial.rungs[-1].seconds for trial in study.trials if trial.rungs)
    shown.append(Figure("the trials took", span(seconds / 60), f"{tokens:,} tokens trained"))
    return figures(shown)


def _plots(study: Study, answer: Answer) -> Iterator[str]:
    yield "<h2>When to stop</h2>"
    told = (
        "Every loss is that of a run which ends at its stop step, its rate decayed by then; or not, if that gave less."
    )
    yield f'<p class="note">{told}</p>'
    curves, costs = drawn(lambda size: stop_curves(answer, size)), drawn(lambda size: trade(answer, size))
    yield f'<div class="plots">{curves}{costs}</div>{stops_table(answer)}'
    yield "<h2>Which values</h2>"
    yield drawn(lambda size: parallel(answer, size), BROAD)
    each = "".join(drawn(lambda size, key=key: slices(answer, key, size)) for key in answer.keys)  # type: ignore[misc]
    yield f'<div class="plots">{each}</div><h2>What matters, and how it went</h2>'
    matters = f'<p class="note">Which keys matter is told from {FEWEST_PAIRS} pairs on.</p>'
    if answer.importance is not None:
        matters = drawn(lambda size: importance(answer, size)).replace(
            "</figure>", f'<p class="note">{escape(METHOD)}.</p></figure>'
        )
    yield f'<div class="plots">{drawn(lambda size: history(study, answer, size))}{matters}</div>'


def _files(page: SearchPage) -> list[Plot]:
    answer = page.answer
    if answer.best is None:
        return []
    plots = [history(page.study, answer, WIDE), stop_curves(answer, WIDE), trade(answer, WIDE)]
    plots += [parallel(answer, BROAD), *(slices(answer, key, WIDE) for key in answer.keys)]
    return plots if answer.importance is None else [*plots, importance(answer, WIDE)]

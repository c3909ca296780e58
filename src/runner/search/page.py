"""The answer of a search as one HTML page that needs nothing else, and its plots as SVG files beside it.

What is drawn is ``plots``'s, what is said ``verdict``'s.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from runner.report import Command
from runner.runs.durable import write_file
from runner.search.answer import Answer
from runner.search.drawing import MARKS, THEME, Plot, Size
from runner.search.importance import FEWEST_PAIRS, METHOD
from runner.search.pairs import Pair
from runner.search.parallel import parallel
from runner.search.plots import history, importance, slices, stop_curves, trade
from runner.search.records import Study
from runner.search.tables import pairs_table, seeds_table, stops_table
from runner.search.wording import counted, gap, loss, span

WIDE, NARROW = Size(544, 360), Size(328, 330)
BROAD = Size(1120, 380)  # the whole width of the page
STYLE = """
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1152px; margin: 0 auto; padding: 28px 16px 64px }
.name { color: var(--quiet); margin: 0 0 4px; font-size: 14px; letter-spacing: .02em }
h1 { font-size: clamp(20px, 2.6vw, 27px); line-height: 1.35; font-weight: 650; margin: 0 0 22px; max-width: 44em }
h2 { font-size: 20px; margin: 44px 0 4px; line-height: 1.3 } h3 { font-size: 16px; margin: 0 0 6px; font-weight: 600 }
p { margin: 0 0 12px; max-width: 46em } .note { color: var(--quiet); font-size: 14.5px }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 20px }
.figures div { background: var(--panel); border-radius: 10px; padding: 12px 14px }
.figures dt { color: var(--quiet); font-size: 13.5px; line-height: 1.35 }
.figures dd { margin: 2px 0 0; font-size: 23px; font-weight: 650; font-variant-numeric: tabular-nums }
.figures dd + dd { font-size: 13.5px; font-weight: 400; color: var(--quiet); line-height: 1.4 }
.best-ink { color: var(--best) } .early-ink { color: var(--early) }
ul { margin: 0 0 8px; padding-left: 20px; max-width: 46em } li { margin: 4px 0 }
.commands { display: grid; grid-template-columns: minmax(0, 1fr); gap: 10px; margin: 0 0 8px }
.commands p { margin: 0; color: var(--quiet); font-size: 14px }
pre { margin: 2px 0 0; padding: 10px 14px; background: var(--panel); border-radius: 8px; overflow-x: auto;
  font: 14px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; user-select: all }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 28px 32px;
  margin: 14px 0 8px }
figure { margin: 0; min-width: 0 } figure svg { display: block; max-width: 100%; height: auto }
figure .slim { display: none }
.scroll { overflow: auto; margin: 14px 0 0; width: fit-content; max-width: 100%; max-height: 560px;
  border-radius: 8px; border: 1px solid var(--grid) }
.scroll:focus-visible { outline: 2px solid var(--trial) }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
th, td { padding: 6px 12px; text-align: left; white-space: nowrap } td[data-by] { text-align: right }
tr.lost td:last-child { white-space: normal; min-width: 220px }
th { position: sticky; top: 0; background: var(--panel); font-weight: 600; padding: 0 }
th button { all: unset; cursor: pointer; padding: 8px 12px; display: block } th.number { text-align: right }
th button:focus-visible { outline: 2px solid var(--trial); outline-offset: -2px }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
tbody tr { border-top: 1px solid var(--grid) } tr.lost td { color: var(--quiet) }
tr.best td { color: var(--best); font-weight: 600 } tr.early td { color: var(--early); font-weight: 600 }
footer { margin-top: 48px; color: var(--quiet); font-size: 14px }
@media (max-width: 1020px) { figure.broad .full { display: none } figure.broad .slim { display: block } }
@media (max-width: 599px) { figure .full { display: none } figure .slim { display: block } }
@media print { .scroll { max-height: none; overflow: visible } }
"""
SORT = """
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const th = button.parentNode, body = th.closest("table").tBodies[0], column = th.cellIndex;
  const up = th.getAttribute("aria-sort") !== "ascending";
  th.parentNode.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => { const cell = row.cells[column];
    return cell.dataset.by === undefined ? cell.textContent : Number(cell.dataset.by) };
  const empty = row => row.cells[column].textContent === "";
  [...body.rows].sort((a, b) => {
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    const [x, y] = [key(a), key(b)];
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return up ? order : -order;
  }).forEach(row => body.append(row));
}));
"""


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
    """Write the page to ``path`` and its plots as ``NAME-PLOT.svg`` beside it; returns every file, the page first.

    Each file is written atomically.  A search that has measured nothing gives a page without plots.
    """
    files = [path]
    for drawn in _files(page):
        file = path.with_name(f"{path.stem}-{drawn.name.replace('.', '-')}.svg")
        write_file(file, drawn.file().encode())
        files.append(file)
    write_file(path, page_html(page).encode())
    return tuple(files)


def page_html(page: SearchPage) -> str:
    """The page as text."""
    body = "".join(part for part in _parts(page) if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.name)}: the answer of a search</title>"
        f"<style>{THEME}{MARKS}{STYLE}</style></head>\n<body><main>{body}</main><script>{SORT}</script></body></html>\n"
    )


def _parts(page: SearchPage) -> Iterator[str]:
    study, answer = page.study, page.answer
    yield f'<header><p class="name">search {escape(page.name)}</p><h1>{escape(answer.verdict)}</h1></header>'
    if answer.best is not None:
        yield _figures(study, answer, answer.best)
    yield _commands([*page.next_commands, Command(page.again, "the search again")])
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
        f"trained alone at its own size.{facts}</footer>"
    )


def _figures(study: Study, answer: Answer, best: Pair) -> str:
    shown = [("lowest loss", loss(best.loss), f"step {best.stop_step:,}, {span(best.minutes)}", "best-ink")]
    earliest = answer.earliest
    if earliest is not None and earliest != best:
        told = f"step {earliest.stop_step:,}, {span(earliest.minutes)}"
        shown.append(("as good, earliest", loss(earliest.loss), told, "early-ink"))
    base = "untuned base" if answer.objective == "validation" else "untuned base, all tokens"
    shown.append((base, loss(answer.base_loss), counted(answer.questions, "held-out question"), ""))
    if answer.noise is not None:
        shown.append(("noise", gap(answer.noise.band), "differences below it are luck", ""))
    shown.append(("measured", counted(len(answer.pairs), "pair"), f"of {counted(len(study.trials), 'trial')}", ""))
    tokens = sum(trial.rungs[-1].trained_tokens for trial in study.trials if trial.rungs)
    seconds = sum(trial.rungs[-1].seconds for trial in study.trials if trial.rungs)
    shown.append(("the trials took", span(seconds / 60), f"{tokens:,} tokens trained", ""))
    divs = "".join(
        f'<div><dt>{escape(what)}</dt><dd class="{ink}">{escape(value)}</dd><dd>{escape(more)}</dd></div>'
        for what, value, more, ink in shown
    )
    return f'<dl class="figures">{divs}</dl>'


def _commands(commands: Sequence[Command]) -> str:
    each = "".join(
        f"<div><p>{escape(command.effect)}</p><pre>{escape(command.text)}</pre></div>" for command in commands
    )
    return f'<section class="commands">{each}</section>'


def _plots(study: Study, answer: Answer) -> Iterator[str]:
    def of(draw: Callable[[Size], Plot]) -> str:
        return _figure(draw(WIDE), draw(NARROW))

    yield "<h2>When to stop</h2>"
    yield '<p class="note">Every loss is that of a run which ends at its stop step, its rate decayed by then.</p>'
    curves, costs = of(lambda size: stop_curves(answer, size)), of(lambda size: trade(answer, size))
    yield f'<div class="plots">{curves}{costs}</div>{stops_table(answer)}'
    yield "<h2>Which values</h2>"
    yield _figure(parallel(answer, BROAD), parallel(answer, NARROW), broad=True)
    each = "".join(of(lambda size, key=key: slices(answer, key, size)) for key in answer.keys)  # type: ignore[misc]
    yield f'<div class="plots">{each}</div><h2>What matters, and how it went</h2>'
    matters = f'<p class="note">Which keys matter is told from {FEWEST_PAIRS} pairs on.</p>'
    if answer.importance is not None:
        matters = of(lambda size: importance(answer, size)).replace(
            "</figure>", f'<p class="note">{escape(METHOD)}.</p></figure>'
        )
    yield f'<div class="plots">{of(lambda size: history(study, answer, size))}{matters}</div>'


def _figure(full: Plot, slim: Plot, *, broad: bool = False) -> str:
    """A plot in two layouts; the page's width chooses one."""
    return (
        f"<figure{' class=broad' if broad else ''}>"
        f'<div class="full">{full.svg}</div><div class="slim">{slim.svg}</div></figure>'
    )


def _files(page: SearchPage) -> list[Plot]:
    answer = page.answer
    if answer.best is None:
        return []
    drawn = [history(page.study, answer, WIDE), stop_curves(answer, WIDE), trade(answer, WIDE)]
    drawn += [parallel(answer, BROAD), *(slices(answer, key, WIDE) for key in answer.keys)]
    return drawn if answer.importance is None else [*drawn, importance(answer, WIDE)]

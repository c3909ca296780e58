"""The page of several runs side by side: what differs in their jobs, their losses, and what they solve.

Which of them can be told apart is ``pairing``'s; the page of one run ``run_page``'s.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from runner.evaluation.results import Arm
from runner.report.ability import SHAPES, slug, solved_by
from runner.report.commands import Command
from runner.report.curve import Point, losses, smoothed
from runner.report.drawing import Plot, Size
from runner.report.evaluated import ARM_NAMES
from runner.report.facts import facts_of, state_of
from runner.report.lines import Heading, Line, lines_plot
from runner.report.page_cards import environment
from runner.report.page_parts import WIDE, commands, document, drawn, header
from runner.report.page_style import ANSWERS
from runner.report.pairing import Entry, comparison_verdict, duel, duel_verdict, shared_suites
from runner.report.png import write_plots
from runner.report.rows import Group, Row, Sign, parts_plot, rows_plot, shares_axis
from runner.report.run_page import RunPage
from runner.report.table import Cell, table
from runner.report.wording import counted, duration, loss, number, sure
from runner.runs import JSON
from runner.runs.durable import write_file

INKS = 8  # of runs, after which they begin again
Draw = Callable[[Size], Plot]


def write_compare_page(path: Path, pages: Sequence[RunPage]) -> tuple[Path, ...]:
    """Write the page of at least one run to ``path`` and its plots beside it; returns every file, the page first."""
    files = write_plots(path, (draw(WIDE) for draw in _draws(pages)))
    write_file(path, compare_page_html(pages).encode())
    return (path, *files)


def compare_page_html(pages: Sequence[RunPage]) -> str:
    """The page as text."""
    names = ", ".join(page.run.summary.name for page in pages)
    return document(f"{names}: side by side", _parts(pages), style=ANSWERS)


def _parts(pages: Sequence[RunPage]) -> Iterator[str]:
    name = f"{counted(len(pages), 'run')} side by side" if len(pages) > 1 else pages[0].run.summary.name
    yield header(name, comparison_verdict(pages))
    yield runs_table(pages)
    if len(pages) > 1:
        yield f'<h2 id="differences">What differs in their jobs</h2>{differences_table(pages)}'
    yield from _abilities(pages)
    curves = "".join(drawn(draw) for draw in loss_plots(pages))
    if curves:
        yield f'<h2 id="losses">How they learned</h2><div class="plots">{curves}</div>'
    again = [Command(page.again, f"{page.run.summary.name} again") for page in pages if page.again]
    yield f'<h2 id="again">To make them again</h2>{commands(again)}' if again else ""
    yield "<footer>Losses are in nats a token over the learned tokens. Intervals hold 95 %.</footer>"


def _abilities(pages: Sequence[RunPage]) -> Iterator[str]:
    suites = shared_suites(pages)
    if suites:
        yield '<h2 id="ability">What they solve</h2>'
    for number_, entries in enumerate(suites):
        if number_ and len(entries) > 1:  # the first stands over the page
            yield f"<p>{escape(duel_verdict(duel(entries)))}</p>"
        yield f'<div class="plots">{"".join(drawn(draw) for draw in _suite_plots(entries))}</div>'


def runs_table(pages: Sequence[RunPage]) -> str:
    """The runs with their numbers, one a row."""
    suites = shared_suites(pages)
    rows = []
    for page in pages:
        facts, name = facts_of(page.run), page.run.summary.name
        devices = environment(page.run).get("devices")
        cells = [
            Cell(name),
            Cell(state_of(page.run.summary)),
            _number(facts.last[1] if facts.last else None, loss),
            _number(facts.lowest[1] if facts.lowest else None, loss),
            *(_solved(entries, name) for entries in suites),
            _number(facts.tokens_per_s, "{:,.0f}".format),
            _number(facts.training_s or None, duration),
            _number(facts.peak_gib, "{:.2f}".format),
            Cell(", ".join(map(str, devices)) if isinstance(devices, list) else ""),
        ]
        rows.append(("", cells))
    asked = [f"pass@1, {entries[0].found.evaluation.suite.name}" for entries in suites]
    headings = ("run", "state", "validation loss", "lowest", *asked, "tokens/s", "training", "peak GiB", "device")
    return table("The runs", headings, rows)


def _number(value: float | None, told: Callable[[float], str]) -> Cell:
    return Cell("", 0.0) if value is None else Cell(told(value), value)


def _solved(entries: Sequence[Entry], run: str) -> Cell:
    found = next((entry.pass_1 for entry in entries if entry.run == run), None)
    return Cell("", 0.0) if found is None else Cell(sure(found), found.value)


def differences_table(pages: Sequence[RunPage]) -> str:
    """The keys of the jobs that are not the same in all, with the value of each run."""
    flat = [_flat(page.run.job) for page in pages]
    keys = dict.fromkeys(key for values in flat for key in values if key != "name")
    unlike = [key for key in keys if len({values.get(key, "") for values in flat}) > 1]
    if not unlike:
        return '<p class="note">Nothing but their names.</p>'
    rows = [("", [Cell(key), *(Cell(values.get(key, "")) for values in flat)]) for key in unlike]
    headings = ("key", *(page.run.summary.name for page in pages))
    return table("Keys that differ", headings, rows)


def _flat(values: Mapping[str, JSON], prefix: str = "") -> dict[str, str]:
    """Every value by its dotted key, as text."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            found[prefix + key] = number(value)
        else:
            found[prefix + key] = json.dumps(value)
    return found


def _draws(pages: Sequence[RunPage]) -> list[Draw]:
    return [draw for entries in shared_suites(pages) for draw in _suite_plots(entries)] + loss_plots(pages)


def loss_plots(pages: Sequence[RunPage]) -> list[Draw]:
    """Validation and smoothed training loss of all runs, those that were recorded."""
    drawn_: list[Draw] = []
    shown: tuple[tuple[str, str, Callable[[RunPage], Sequence[Point]]], ...] = (
        ("validation", "Validation loss, nats a token", lambda page: losses(page.run.records, "validation")),
        ("training", "Training loss, smoothed", lambda page: smoothed(losses(page.run.records, "train"))),
    )
    for name, title, points_of in shown:
        lines = [Line(page.run.summary.name, points_of(page), f"run{place % INKS}") for place, page in enumerate(pages)]
        if any(len(line.points) > 1 for line in lines):
            ends = "; ".join(f"{line.name} ends at {loss(line.points[-1][1])}" for line in lines if line.points)
            heading = Heading(name, title, f"{ends}.")
            drawn_.append(lambda size, h=heading, ls=lines: lines_plot(h, ls, size))  # type: ignore[misc]
    return drawn_


def _suite_plots(entries: Sequence[Entry]) -> list[Draw]:
    draws: list[Draw] = [lambda size: pass_plot(entries, size)]
    if len(entries) > 1:
        draws.append(lambda size: duel_plot(entries, size))
    return draws


def pass_plot(entries: Sequence[Entry], size: Size) -> Plot:
    """pass@1 of each run's base and tuned model on one suite."""
    arms: tuple[Arm, ...] = ("base", "tuned")
    groups = []
    for entry in entries:
        summaries = [summary for arm in arms if (summary := entry.found.evaluation.arm(arm)) and 1 in summary.pass_at]
        rows = []
        for summary in summaries:
            (shape, ink), found = SHAPES[summary.arm], summary.pass_at[1]
            tip = f"{ARM_NAMES[summary.arm]}: {sure(found)}"
            rows.append(Row(found.value, sure(found), shape, ink, (found.low, found.high), tip))
        groups.append(Group(entry.run, tuple(rows)))
    evaluation = entries[0].found.evaluation
    highest = max(row.interval[1] for group in groups for row in group.rows if row.interval)
    told = "; ".join(f"{group.name} {row.tip}" for group in groups for row in group.rows)
    heading = Heading(f"{slug(evaluation)}-pass-1", f"pass@1 on {evaluation.suite.name}", f"{told}.")
    signs: list[Sign] = [(*SHAPES[arm], ARM_NAMES[arm]) for arm in arms]
    return rows_plot(heading, groups, size, across=shares_axis(highest), signs=signs)


def duel_plot(entries: Sequence[Entry], size: Size) -> Plot:
    """Who of the best two solved which share of the problems."""
    found = duel(entries)
    counts = (found.both, found.only_best, found.only_second, found.neither)
    parts, told = solved_by(counts, found.best.run, found.second.run)
    heading = Heading(f"{slug(entries[0].found.evaluation)}-wins", "Solved by whom, the best two", f"{told}.")
    return parts_plot(heading, parts, size)

"""The figures of a benchmark as text, as far as its ways are done.

What they are is ``figures``'s.
"""

from collections.abc import Callable
from statistics import fmean

from runner.search.benchmark.figures import (
    Row,
    Seconds,
    gains,
    greatest_difference,
    reached_after,
    resident_row,
    separate_row,
    tuned_row,
    worths,
)
from runner.search.benchmark.plan import Plan, Way
from runner.search.live import clock
from runner.search.wording import gap, loss

TITLES: dict[Way, str] = {
    "separate": "a process for each pair",
    "asha": "Tune + ASHA, fresh processes",
    "curve": "the same, stop read off the curve",
    "resident": "runner search",
}
MAKE: dict[Way, Callable[[Plan], Row]] = {
    "separate": separate_row,
    "asha": lambda plan: tuned_row(plan, "asha"),
    "curve": lambda plan: tuned_row(plan, "curve"),
    "resident": resident_row,
}


def rows(plan: Plan) -> list[Row]:
    """The rows of the ways that are done."""
    return [make(plan) for way, make in MAKE.items() if plan.wall_file(way).is_file()]


def render(plan: Plan) -> str:
    """A table of the ways, and what else they tell."""
    done = {row.way: row for row in rows(plan)}
    ours = done.get("resident")
    head = ("way", "runs", "wall time", "x", "trained tokens", "lowest loss", "of")
    lines = [head, *(_cells(row, ours) for row in done.values())]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*table, *_notes(plan, done)])


def _cells(row: Row, ours: Row | None) -> tuple[str, ...]:
    times = "" if ours is None or row is ours else _times(row.wall, ours.wall)
    found = ("not all known", "") if row.best is None else (loss(row.best.loss), row.best.at)
    return TITLES[row.way], row.runs, _seconds(row.wall), times, f"{row.tokens:,}", *found


def _seconds(seconds: Seconds) -> str:
    return clock(seconds.value) + ("" if seconds.reach is None else f" ± {clock(seconds.reach)}")


def _times(theirs: Seconds, ours: Seconds) -> str:
    low = theirs.value - (theirs.reach or 0.0)
    interval = "" if theirs.reach is None else f" (at least {low / ours.value:.1f})"
    return f"{theirs.value / ours.value:.1f}{interval}"


def _notes(plan: Plan, done: dict[Way, Row]) -> list[str]:
    """When the search had what the others found, how exact its losses are, what a decay gains and answers are worth."""
    notes = [""]
    for way in ("asha", "curve"):
        row = done.get(way)
        if row is not None and row.best is not None and "resident" in done:
            after = reached_after(plan, row.best.loss)
            told = "never" if after is None else f"after {clock(after)}, {row.wall.value / after:.1f} times as fast"
            notes.append(f"runner search had a loss as low as that of '{TITLES[way]}': {told}")
    if (exact := greatest_difference(plan)) is not None:
        notes.append(f"{exact[0]} separate runs and the same pairs by trunks: losses at most {exact[1]:.3g} apart")
    for stop, on_curve, ended in gains(plan):
        notes.append(f"best configuration at step {stop:,}: {loss(on_curve)} on the curve of the longest run, ")
        notes[-1] += f"{loss(ended)} ending there, {gap(on_curve - ended)} gained"
    return [*notes, *_worth_notes(plan)]


def _worth_notes(plan: Plan) -> list[str]:
    """What the answers of the curve and of the search give when they are trained again."""
    found = worths(plan)
    notes = [
        f"answer for step {each.stop_step:,}, trained with {len(each.curve)} other seeds: {loss(fmean(each.curve))} by "
        f"the curve, {loss(fmean(each.resident))} by runner search, {gap(each.gained)} gained{_reach(each.reach)}"
        for each in found
    ]
    if found:
        notes.append(f"all answers together: {gap(fmean(each.gained for each in found))} gained on average")
    return notes


def _reach(reach: float | None) -> str:
    return "" if reach is None else f" ± {gap(reach)}"

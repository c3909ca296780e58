"""Lines over optimizer steps: losses, speed and memory, with the steps at which something happened.

Which lines a page shows is up to ``learning`` and ``compare_page``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from runner.report.curve import Mark, Point
from runner.report.drawing import LETTER, Plot, Shape, Size, legend, line, mark, path, plot, text
from runner.report.frame import ABOVE, Frame
from runner.report.scales import Linear

MOST_POINTS = 600
LEVEL = 15.0  # from one line of the marks' names to the next


@dataclass(frozen=True)
class Line:
    """Values by step; ``dots`` marks each of them, and ``name`` is empty for a line that the legend leaves out."""

    name: str
    points: Sequence[Point]
    ink: str
    dots: str = ""  # ink of the dots; none where empty


@dataclass(frozen=True)
class Heading:
    """What a plot is called: ``name`` in a file's name, ``title`` over it, ``about`` for those who do not see it."""

    name: str
    title: str
    about: str


def lines_plot(
    heading: Heading,
    lines: Sequence[Line],
    size: Size,
    *,
    marks: Sequence[Mark] = (),
    told: Callable[[float], str] = "{:.4f}".format,
    from_zero: bool = False,
) -> Plot:
    """The lines in one frame, the legend with the last value of each; ``told`` writes a value.

    The axis of values holds every point of a line that the legend names, and 0 with ``from_zero``; others are cut off
    at its ends.
    """
    assert any(line.points for line in lines)
    entries: list[tuple[Shape, str, str]] = [
        ("line", line.ink, f"{line.name} {told(line.points[-1][1])}") for line in lines if line.name and line.points
    ]
    pieces, low = legend(entries, size)
    frame, levels = _frame(marks, Frame(size, low + ABOVE, *_axes(lines, from_zero=from_zero)))
    pieces += frame.axes("optimizer step")
    pieces += _marks(frame, marks, levels)
    for each in lines:
        pieces += _drawn(frame, each, told)
    return plot(heading.name, heading.title, heading.about, size, pieces)


def _axes(lines: Sequence[Line], *, from_zero: bool) -> tuple[Linear, Linear]:
    """Steps across from 0, values upwards with a little room."""
    values = [value for line in lines if line.name for _, value in line.points]
    low, high = min(values), max(values)
    if from_zero:
        low = min(low, 0.0)
    pad = max((high - low) * 0.05, abs(high) * 1e-3, 1e-4)
    last = max(step for line in lines for step, _ in line.points)
    return Linear(0, max(last, 1) * 1.02, whole=True), Linear(low - pad if low < 0 else max(low - pad, 0.0), high + pad)


def _frame(marks: Sequence[Mark], frame: Frame) -> tuple[Frame, list[int]]:
    """``frame`` under the names of the marks, and the line that each name stands on."""
    levels = _levels(frame, marks)
    return replace(frame, top=frame.top + LEVEL * (max(levels, default=-1) + 1)), levels


def _levels(frame: Frame, marks: Sequence[Mark]) -> list[int]:
    """For each mark the lowest line on which its name runs into no other."""
    taken: list[float] = []
    found = []
    for each in marks:
        half = len(each.name) * LETTER / 2
        x = frame.x(each.step)
        level = next((n for n, end in enumerate(taken) if x - half > end + 6), len(taken))
        taken[level : level + 1] = [x + half]
        found.append(level)
    return found


def _marks(frame: Frame, marks: Sequence[Mark], levels: Sequence[int]) -> Iterator[str]:
    for each, level in zip(marks, levels, strict=True):
        x, y = frame.x(each.step), frame.top - 5 - LEVEL * level
        yield line((x, frame.top - 2 - LEVEL * level), (x, frame.bottom), "when")
        half = len(each.name) * LETTER / 2
        yield text((min(max(x, half), frame.size.width - half), y), each.name, "halo of-early", anchor="middle")


def _drawn(frame: Frame, shown: Line, told: Callable[[float], str]) -> list[str]:
    if not shown.points:
        return []
    pieces = [path([frame.at(step, value) for step, value in thinned(shown.points)], shown.ink)]
    if shown.dots:
        for step, value in shown.points:
            tip = f"{shown.name}, step {step:,}: {told(value)}"
            pieces.append(mark("dot", frame.at(step, value), tip=tip, ink=shown.dots))
    return pieces


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most about ``MOST_POINTS`` of the points, evenly chosen, the last among them."""
    stride = -(-len(points) // MOST_POINTS)
    chosen = list(points[::stride])
    return chosen if chosen[-1] == points[-1] else [*chosen, points[-1]]

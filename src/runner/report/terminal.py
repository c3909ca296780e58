"""A loss curve drawn with characters: the smoothed training loss in Braille dots, validation as points, marks as lines.

Which losses, and what else is said, is decided in ``curve`` and ``summary``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from runner.report.axis import decimals, round_step, round_ticks
from runner.report.curve import Curve, Mark, Point, smoothed
from runner.report.style import Ink, Style

HEIGHT = 13
LEFT = 8
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_SMALLEST_SPAN = 1e-3
_MOST_TICKS_DOWN = 6
_COLUMNS_PER_TICK = 12
_POINT_SPACING = 4


@dataclass(frozen=True)
class _Signs:
    validation: str
    mark: str
    corner: str
    tick_left: str
    tick_down: str
    left: str
    bottom: str


_UNICODE = _Signs("●", "┊", "└", "┤", "┬", "│", "─")
_ASCII = _Signs("o", ":", "+", "+", "+", "|", "-")


@dataclass(frozen=True)
class _Frame:
    """The plot's area: ``columns`` x ``rows`` characters for steps 0 to ``last`` and losses ``low`` to ``high``."""

    columns: int
    rows: int
    last: int
    low: float
    high: float

    def column(self, step: float, parts: int = 1) -> int:
        """Column of a step, counted in parts of a character."""
        width = self.columns * parts
        return min(width - 1, int(step / self.last * (width - 1) + 0.5))

    def row(self, loss: float, parts: int = 1) -> int:
        """Row of a loss from the top, counted in parts of a character."""
        height = self.rows * parts
        return max(0, min(height - 1, int((self.high - loss) / (self.high - self.low) * (height - 1) + 0.5)))


def draw(curve: Curve, style: Style) -> tuple[str, ...]:
    """The lines of the plot, at most ``style.width`` columns each; none if there are fewer than two points."""
    line = smoothed(curve.train)
    values = [loss for _, loss in (*line, *curve.validation)]
    if len(values) < 2 or curve.last_step == 0:
        return ()
    frame = _frame(values, curve.last_step, style.width)
    cells = _plotted(line, curve, frame, style)
    signs = _UNICODE if style.unicode else _ASCII
    rows = [label + _row(cells[row], style) for row, label in enumerate(_left_labels(frame, signs))]
    return (*rows, *_bottom(curve.marks, frame, signs, style))


def legend(curve: Curve, style: Style) -> str:
    """What the signs in the plot mean; only those that occur."""
    signs = _UNICODE if style.unicode else _ASCII
    parts = []
    if curve.train:
        parts.append(f"{style.ink('⠤⠒' if style.unicode else '**', 'train')} training, smoothed")
    if curve.validation:
        parts.append(f"{style.ink(signs.validation, 'validation')} validation")
    return "   ".join(parts)


def _frame(values: Sequence[float], last: int, width: int) -> _Frame:
    low, high = min(values), max(values)
    if high - low < _SMALLEST_SPAN:
        low, high = low - _SMALLEST_SPAN, high + _SMALLEST_SPAN
    return _Frame(max(10, width - LEFT - 1), HEIGHT, last, low, high)


_Cell = tuple[str, Ink]


def _plotted(line: Sequence[Point], curve: Curve, frame: _Frame, style: Style) -> list[list[_Cell]]:
    """Characters and their inks, the later layer over the earlier: marks, training, validation."""
    signs = _UNICODE if style.unicode else _ASCII
    cells: list[list[_Cell]] = [[(" ", "quiet") for _ in range(frame.columns)] for _ in range(frame.rows)]
    for mark in curve.marks:
        for row in range(frame.rows):
            cells[row][frame.column(mark.step)] = (signs.mark, "mark")
    for row, dots in enumerate(_braille(line, frame) if style.unicode else _stars(line, frame)):
        for column, sign in enumerate(dots):
            if sign != " ":
                cells[row][column] = (sign, "train")
    for step, loss in _spaced(curve.validation, frame):
        cells[frame.row(loss)][frame.column(step)] = (signs.validation, "validation")
    return cells


def _spaced(points: Sequence[Point], frame: _Frame) -> list[Point]:
    """The first and last points, and of the others as many as leave the line between them to be seen."""
    kept = list(points[:1])
    for point in points[1:-1]:
        near = (frame.column(other[0]) for other in (kept[-1], points[-1]))
        if all(abs(frame.column(point[0]) - column) >= _POINT_SPACING for column in near):
            kept.append(point)
    return [*kept, *points[1:][-1:]]


def _braille(line: Sequence[Point], frame: _Frame) -> list[str]:
    """The line in dots, two a character across and four down, without gaps."""
    bits = [[0] * frame.columns for _ in range(frame.rows)]
    for column, top, bottom in _strokes(line, frame, across=2, down=4):
        for row in range(top, bottom + 1):
            bits[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in bits]


def _stars(line: Sequence[Point], frame: _Frame) -> list[str]:
    rows = [[" "] * frame.columns for _ in range(frame.rows)]
    for column, top, bottom in _strokes(line, frame, across=1, down=1):
        for row in range(top, bottom + 1):
            rows[row][column] = "*"
    return ["".join(row) for row in rows]


def _strokes(line: Sequence[Point], frame: _Frame, *, across: int, down: int) -> list[tuple[int, int, int]]:
    """For every dot column that the line crosses its uppermost and lowest dot row, joined to the column before."""
    heights = _interpolated(line, frame, across)
    strokes = []
    before: int | None = None
    for column, loss in heights:
        row = frame.row(loss, down)
        top = bottom = row
        if before is not None and before < row:
            top = before + 1
        elif before is not None and before > row:
            bottom = before - 1
        strokes.append((column, top, bottom))
        before = row
    return strokes


def _interpolated(line: Sequence[Point], frame: _Frame, across: int) -> list[tuple[int, float]]:
    """The line's mean in each dot column, straight between points where a column has none."""
    sums: dict[int, list[float]] = {}
    for step, loss in line:
        sums.setdefault(frame.column(step, across), []).append(loss)
    known = sorted((column, sum(values) / len(values)) for column, values in sums.items())
    filled = known[:1]
    for (left, one), (right, other) in pairwise(known):
        gap = right - left
        filled += [(left + k, one + (other - one) * k / gap) for k in range(1, gap + 1)]
    return filled


def _left_labels(frame: _Frame, signs: _Signs) -> list[str]:
    """The axis of losses: round numbers where a row lies nearest to them."""
    step = round_step(frame.high - frame.low, _MOST_TICKS_DOWN)
    ticks = {frame.row(loss): loss for loss in round_ticks(frame.low, frame.high, _MOST_TICKS_DOWN)}
    labels = []
    for row in range(frame.rows):
        text = f"{ticks[row]:.{max(1, decimals(step))}f}" if row in ticks else ""
        if len(text) > LEFT - 2:
            text = f"{ticks[row]:.0e}"
        labels.append(f"{text:>{LEFT - 2}} {signs.tick_left if row in ticks else signs.left}")
    return labels


def _bottom(marks: Sequence[Mark], frame: _Frame, signs: _Signs, style: Style) -> tuple[str, ...]:
    """The axis of steps with its numbers, and below it the names of the marks."""
    ticks = round_ticks(0, frame.last, max(1, frame.columns // _COLUMNS_PER_TICK))
    rule = [signs.bottom] * frame.columns
    for tick in ticks:
        rule[frame.column(tick)] = signs.tick_down
    numbers = _placed([(frame.column(tick), f"{tick:,.0f}") for tick in ticks if tick == int(tick)], frame.columns)
    names = _placed([(frame.column(mark.step), mark.name) for mark in marks], frame.columns)
    pad = " " * LEFT
    lines = [" " * (LEFT - 1) + signs.corner + "".join(rule), (pad + numbers).rstrip()]
    return (*lines, pad + style.ink(names, "mark")) if names else tuple(lines)


def _placed(labels: Sequence[tuple[int, str]], columns: int) -> str:
    """Labels centred on their columns, moved so that none overlaps or leaves the line; one without room is left out."""
    line = ""
    for column, text in labels:
        start = min(max(column - len(text) // 2, 0), columns - len(text))
        if line:
            start = max(start, len(line) + 2)
        if start + len(text) <= columns:
            line = line.ljust(start) + text
    return line


def _row(cells: Sequence[_Cell], style: Style) -> str:
    """One row as text, runs of one ink together, nothing after the last sign."""
    end = max((place + 1 for place, (sign, _) in enumerate(cells) if sign != " "), default=0)
    text, run, ink = "", "", cells[0][1]
    for sign, next_ink in cells[:end]:
        if next_ink != ink and sign != " ":
            text += style.ink(run, ink)
            run, ink = "", next_ink
        run += sign
    return text + style.ink(run, ink)

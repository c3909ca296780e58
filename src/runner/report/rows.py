"""Values side by side as rows, in groups: a mark on its interval or a bar from 0, each with its number.

Which values a page shows is up to ``ability`` and ``compare_page``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.report.drawing import (
    LETTER,
    STRONG_LETTER,
    Plot,
    Shape,
    Size,
    box,
    cut,
    legend,
    line,
    mark,
    plot,
    text,
)
from runner.report.lines import Heading
from runner.report.scales import Linear

ROW, GAP, HEAD = 20.0, 12.0, 20.0  # pixels: a row, between groups, a group's name over its rows
FOOT = 30.0
WIDEST_NAMES = 200.0
BOLD_LETTER = 8.8  # pixels of a bold letter where the font is a wide one
ROUND_SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)
Sign = tuple[Shape, str, str]


@dataclass(frozen=True)
class Row:
    """A value, its number in words, and its interval; without one it is drawn as a bar from 0."""

    value: float
    told: str
    shape: Shape
    ink: str
    interval: tuple[float, float] | None = None
    tip: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under one name."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Across:
    """The axis that the rows share: its greatest value and how one is written; whole numbers alone where ``whole``."""

    high: float
    told: Callable[[float], str]
    whole: bool = False


def shares_axis(highest: float) -> Across:
    """An axis of shares from 0 to the next round one over ``highest``, in per cent."""
    high = next((share for share in ROUND_SHARES if share >= highest), 1.0)
    return Across(high, lambda share: f"{100 * share:.3g} %")


def rows_plot(heading: Heading, groups: Sequence[Group], size: Size, *, across: Across, signs: Sequence[Sign]) -> Plot:
    """The groups under each other; on a narrow page a group's name stands over its rows instead of beside them."""
    pieces, low = legend(signs, size)
    area = _Area.of(groups, size, low + 12, across)
    y = area.top
    bodies: list[str] = []
    for group in groups:
        if size.narrow:
            bodies.append(text((0, y + 13), cut(group.name, size.width, BOLD_LETTER), "strong"))
            y += HEAD
        else:
            middle = y + ROW * len(group.rows) / 2 + 4
            name = cut(group.name, area.left - 12, BOLD_LETTER)
            bodies.append(text((area.left - 12, middle), name, "strong", anchor="end"))
        for row in group.rows:
            bodies += area.row(row, y + ROW / 2)
            y += ROW
        y += GAP
    fitting = Size(size.width, round(y - GAP + FOOT))
    return plot(heading.name, heading.title, heading.about, fitting, [*pieces, *area.axis(y - GAP + 4), *bodies])


@dataclass(frozen=True)
class _Area:
    """Where values lie: from ``left`` to ``right``, their numbers after it."""

    left: float
    right: float
    top: float
    across: Across

    @classmethod
    def of(cls, groups: Sequence[Group], size: Size, top: float, across: Across) -> "_Area":
        told = max((len(row.told) for group in groups for row in group.rows), default=0) * LETTER
        names = max((len(group.name) for group in groups), default=0) * BOLD_LETTER + 20
        left = 14.0 if size.narrow else min(max(names, 24.0), WIDEST_NAMES)
        return cls(left, size.width - told - 16, top, across)

    def x(self, value: float) -> float:
        return self.left + min(max(value / self.across.high, 0.0), 1.0) * (self.right - self.left)

    def axis(self, bottom: float) -> list[str]:
        """The ticks that find room, as lines through all rows."""
        scale = Linear(0.0, self.across.high, self.across.whole)
        most = max(1, int((self.right - self.left) / 64))
        pieces = []
        for place, _ in scale.ticks(most):
            x = self.left + place * (self.right - self.left)
            pieces.append(line((x, self.top - 4), (x, bottom), "grid"))
            pieces.append(text((x, bottom + 16), self.across.told(place * self.across.high), anchor="middle"))
        return pieces

    def row(self, row: Row, y: float) -> list[str]:
        told = text((self.right + 12, y + 4), row.told)
        if row.interval is None:
            return [box((self.left, y - 7), self.x(row.value) - self.left, 14, row.ink, tip=row.tip), told]
        low, high = (self.x(end) for end in row.interval)
        ends = [line((x, y - 4), (x, y + 4), "whisker") for x in (low, high)]
        return [line((low, y), (high, y), "whisker"), *ends, self._mark(row, y), told]

    def _mark(self, row: Row, y: float) -> str:
        return mark(row.shape, (self.x(row.value), y), tip=row.tip, ink=row.ink)


@dataclass(frozen=True)
class Part:
    """A count of a whole, and its ink."""

    name: str
    count: int
    ink: str


def parts_plot(heading: Heading, parts: Sequence[Part], size: Size) -> Plot:
    """One bar of the parts in order, the numbers in it where they find room and in the legend always."""
    whole = sum(part.count for part in parts)
    assert whole > 0
    pieces, low = legend([("bar", part.ink, f"{part.name} {part.count:,}") for part in parts], size)
    x, y, height = 0.0, low + 12, 34
    for part in parts:
        width = size.width * part.count / whole
        share = f"{part.name}: {part.count:,} of {whole:,}"
        pieces.append(box((x, y), max(width - 2, 1.5) if part.count else 0, height, part.ink, tip=share))
        if width > len(f"{part.count:,}") * STRONG_LETTER + 8:
            pieces.append(text((x + width / 2 - 1, y + 22), f"{part.count:,}", "inside", anchor="middle"))
        x += width
    return plot(heading.name, heading.title, heading.about, Size(size.width, round(y + height + 4)), pieces)

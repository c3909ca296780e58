"""The area of a plot with its axes, grid and ticks.

What is drawn in it is up to the modules of plots.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from runner.report.drawing import LETTER, Point, Size, line, text
from runner.report.scales import Scale
from runner.report.wording import Value

LEFT, RIGHT, BOTTOM = 52.0, 14.0, 44.0
ABOVE = 14.0  # between a plot's area and what stands over it


@dataclass(frozen=True)
class Frame:
    """The area of a plot with its two axes; losses grow upwards."""

    size: Size
    top: float
    across: Scale
    up: Scale

    @property
    def right(self) -> float:
        return self.size.width - RIGHT

    @property
    def bottom(self) -> float:
        return self.size.height - BOTTOM

    def at(self, across: Value, up: Value) -> Point:
        """Where a point lies."""
        return self.x(across), self.y(up)

    def x(self, value: Value) -> float:
        return LEFT + self.across.place(value) * (self.right - LEFT)

    def y(self, value: Value) -> float:
        return self.bottom - self.up.place(value) * (self.bottom - self.top)

    def axes(self, name: str) -> list[str]:
        """Grid, ticks and the name of the axis across."""
        pieces = []
        for place, label in self.up.ticks(8):
            y = self.bottom - place * (self.bottom - self.top)
            pieces += [line((LEFT, y), (self.right, y), "grid"), text((LEFT - 8, y + 4), label, anchor="end")]
        pieces.append(line((LEFT, self.bottom), (self.right, self.bottom), "axis"))
        for place, label in self._room_for(self.across.ticks(4 if self.size.narrow else 8)):
            x = LEFT + place * (self.right - LEFT)
            pieces += [line((x, self.bottom), (x, self.bottom + 5), "axis")]
            pieces += [text((x, self.bottom + 18), label, anchor="middle")]
        return [*pieces, text(((LEFT + self.right) / 2, self.size.height - 6), name, anchor="middle")]

    def _room_for(self, ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
        """The ticks whose labels do not run into the one before."""
        kept: list[tuple[float, str]] = []
        taken = -1e9
        for place, label in ticks:
            half = len(label) * LETTER / 2
            x = place * (self.right - LEFT)
            if x - half > taken + 6:
                kept.append((place, label))
                taken = x + half
        return kept

"""Where a value lies along an axis, from 0 to 1, and the round values to write there.

What is drawn along it is up to the modules of plots.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from runner.report.axis import decimals, round_step, round_ticks
from runner.report.wording import Value, number

LONGEST_LABEL = 16
OUTLIER = 3.0  # times the distance of the worst of the better three quarters from the lowest: what lies beyond is cut
BELOW = 2.4  # times as much room under the lowest loss as over the highest: its number stands there
Tick = tuple[float, str]


class Scale(Protocol):
    """An axis."""

    def place(self, value: Value) -> float:
        """From 0, its beginning, to 1; values beyond are held at the ends."""
        ...

    def ticks(self, most: int) -> list[Tick]:
        """At most about ``most`` places and their text."""
        ...


@dataclass(frozen=True)
class Linear:
    """Numbers from ``low`` to ``high``; whole ones alone are written where ``whole``."""

    low: float
    high: float
    whole: bool = False

    def place(self, value: Value) -> float:
        return _held((float(value) - self.low) / (self.high - self.low))

    def ticks(self, most: int) -> list[Tick]:
        digits = 0 if self.whole else decimals(round_step(self.high - self.low, most))
        found = round_ticks(self.low, self.high, most)
        return [
            (self.place(tick), f"{tick:,.{digits}f}") for tick in found if not self.whole or tick == int(tick)
        ]  # whole numbers of a narrow range stand between others


@dataclass(frozen=True)
class Logarithmic:
    """Numbers above 0, even steps of their logarithm."""

    low: float
    high: float

    def place(self, value: Value) -> float:
        return _held(math.log(float(value) / self.low) / math.log(self.high / self.low))

    def ticks(self, most: int) -> list[Tick]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            found = [factor * 10.0**power for power in powers for factor in factors]
            inside = [tick for tick in found if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]
            if len(inside) <= most:
                break
        shown = inside[:: -(-len(inside) // most)] if inside else [self.low, self.high]
        return [(self.place(tick), number(tick)) for tick in shown]


@dataclass(frozen=True)
class Choices:
    """Some values, evenly spaced."""

    values: tuple[Value, ...]

    def place(self, value: Value) -> float:
        return (self.values.index(value) + 0.5) / len(self.values)

    def ticks(self, most: int) -> list[Tick]:
        chosen = self.values[:: -(-len(self.values) // most)]
        return [(self.place(value), _short(number(value))) for value in chosen]


def losses_scale(losses: Iterable[float]) -> Linear:
    """The axis of losses, from below the lowest up to the highest or, if that lies far out, to where most are."""
    found = sorted(losses)
    assert found
    low, high = found[0], found[-1]
    most = found[3 * (len(found) - 1) // 4]
    if most > low:
        high = min(high, low + OUTLIER * (most - low))
    pad = max((high - low) * 0.05, abs(low) * 1e-3, 1e-4)
    return Linear(low - BELOW * pad, high + pad)


def _held(place: float) -> float:
    return min(max(place, 0.0), 1.0)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"

"""A run's records as a curve: losses by step, smoothed, and the steps at which something happened.

Drawing it is ``terminal``'s and ``svg``'s task; words about it are ``summary``'s.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from runner.runs import JSON, Record

Point: TypeAlias = tuple[int, float]
PAPER_STEP = 500  # most of the useful learning was done by then in the run this project comes from
_STABLE_STEPS = 3


@dataclass(frozen=True)
class Mark:
    """A step worth a line in the plot, and its name there."""

    step: int
    name: str


@dataclass(frozen=True)
class Curve:
    """``train`` and ``validation`` losses (nats a token) by step, finite ones only, steps ascending; ``marks`` too."""

    train: tuple[Point, ...]
    validation: tuple[Point, ...]
    marks: tuple[Mark, ...]

    @property
    def last_step(self) -> int:
        """The step at which the curve ends; 0 if it has no point."""
        return max((step for step, _ in (*self.train, *self.validation)), default=0)


def read_curve(records: Sequence[Record]) -> Curve:
    """The curve that the records tell; of a step recorded twice the later record counts."""
    train, validation = losses(records, "train"), losses(records, "validation")
    last = max((step for step, _ in (*train, *validation)), default=0)
    return Curve(train, validation, _marks(records, last))


def losses(records: Iterable[Record], kind: str, key: str = "loss") -> tuple[Point, ...]:
    """The finite values of ``key`` in the records of one kind, by step."""
    found: dict[int, float] = {}
    for record in of_kind(records, kind):
        step, value = record.get("step"), number(record.get(key))
        if isinstance(step, int) and value is not None:
            found[step] = value
    return tuple(sorted(found.items()))


def of_kind(records: Iterable[Record], kind: str) -> tuple[Record, ...]:
    """The records of one kind, in order."""
    return tuple(record for record in records if record.get("kind") == kind)


def number(value: JSON) -> float | None:
    """``value`` if it is a finite number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def smoothed(points: Sequence[Point]) -> tuple[Point, ...]:
    """Each loss replaced by the mean over a window centred on its step, a fortieth of the points to either side
    (three where that is less, none in a run of under twenty).

    Centred, so that the line does not lag behind the losses.  At the steep start the window narrows to both sides;
    at the flat end only its later half is missing, so that the last value is not one noisy step.
    """
    reach = max(len(points) // 40, min(3, len(points) // 20))
    means = []
    for place, (step, _) in enumerate(points):
        room = min(reach, place)
        means.append((step, fmean(loss for _, loss in points[place - room : place + room + 1])))
    return tuple(means)


def _marks(records: Sequence[Record], last: int) -> tuple[Mark, ...]:
    marks = [Mark(step, "decay") for step in _decay_step(losses(records, "train", "learning_rate"))]
    plateaus = [record.get("step") for record in of_kind(records, "event") if record.get("name") == "plateau"]
    marks += [Mark(step, "plateau") for step in plateaus if isinstance(step, int)]
    if last > PAPER_STEP:
        marks.append(Mark(PAPER_STEP, f"step {PAPER_STEP}"))
    names: dict[int, list[str]] = {}
    for mark in sorted(marks, key=lambda mark: mark.step):
        names.setdefault(mark.step, []).append(mark.name)
    return tuple(Mark(step, ", ".join(reversed(told))) for step, told in names.items())


def _decay_step(rates: Sequence[Point]) -> tuple[int, ...]:
    """The step after which the rate falls for good, if it stood at its peak for a while before; else nothing."""
    peak = max((rate for _, rate in rates), default=0.0)
    stable = [step for step, rate in rates if math.isclose(rate, peak, rel_tol=1e-6)]
    falls = bool(stable) and stable[-1] < rates[-1][0]
    return (stable[-1],) if falls and len(stable) >= _STABLE_STEPS else ()

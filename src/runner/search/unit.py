"""A number as a place from 0 to 1 between the ends of its range, and back.

What the ranges are is ``space``'s.
"""

import math
from typing import TypeAlias

from optuna.distributions import FloatDistribution, IntDistribution

Numbers: TypeAlias = FloatDistribution | IntDistribution


def to_unit(numbers: Numbers, value: float) -> float:
    """Where ``value`` lies, on the logarithm if the range is spread over it."""
    low, high = _ends(numbers)
    return ((math.log(value) if numbers.log else value) - low) / (high - low)


def from_unit(numbers: Numbers, place: float) -> int | float:
    """The number of the range nearest to ``place``, which may lie outside 0 to 1."""
    low, high = _ends(numbers)
    at = low + min(max(place, 0.0), 1.0) * (high - low)
    value = math.exp(at) if numbers.log else at
    if numbers.step is not None:
        value = numbers.low + round((value - numbers.low) / numbers.step) * numbers.step
    value = min(max(value, numbers.low), numbers.high)
    return round(value) if isinstance(numbers, IntDistribution) else float(value)


def _ends(numbers: Numbers) -> tuple[float, float]:
    if numbers.log:
        return math.log(numbers.low), math.log(numbers.high)
    return float(numbers.low), float(numbers.high)

"""Round numbers along an axis, and their text.

What the axis measures is the caller's business.
"""

import math


def round_step(span: float, ticks: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that divides ``span`` into at most ``ticks`` parts."""
    assert span > 0
    assert ticks > 0
    power = 10.0 ** math.floor(math.log10(span / ticks))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if span / (factor * power) <= ticks * (1 + 1e-9))


def round_ticks(low: float, high: float, ticks: int) -> tuple[float, ...]:
    """Multiples of a round step from ``low`` to ``high``, both ends included if they are multiples."""
    step = round_step(high - low, ticks)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(count * step for count in range(first, last + 1))


def decimals(step: float) -> int:
    """Digits after the point that tell multiples of ``step`` apart."""
    return max(0, -math.floor(math.log10(step) + 1e-9))

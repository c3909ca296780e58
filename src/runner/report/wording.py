"""Numbers, spans of time and lists as a reader wants them.

What is said with them is up to the pages and summaries.
"""

from collections.abc import Sequence
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool
"""A value of a job."""


def number(value: Value) -> str:
    """A value of a job: whole numbers whole, others with four digits, 3e-5 without a zero before the 5."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value)
    plain = f"{value:.4g}"
    mantissa, exponent, power = plain.partition("e")
    return f"{mantissa}e{int(power)}" if exponent else plain


def loss(nats: float) -> str:
    """A loss with four digits after the point, or a large one with four digits in all."""
    return f"{nats:.4f}" if abs(nats) < 100 else f"{nats:.4g}"


def gap(nats: float) -> str:
    """A difference of losses with two digits that say something, at least three after the point."""
    return f"{nats:.3f}" if abs(nats) >= 0.0095 or nats == 0 else f"{nats:.2g}"


def span(minutes: float) -> str:
    """``24 s``, ``3.2 min`` or ``5.4 h``."""
    if minutes * 60 < 99.5:
        return f"{minutes * 60:.0f} s" if minutes * 60 >= 9.5 else f"{minutes * 60:.1f} s"
    return f"{minutes:.1f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def counted(count: int, what: str) -> str:
    """``1 trial`` or ``2 trials``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"

"""Numbers, spans of time and lists as a reader wants them.

What is said with them is up to the pages and summaries.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from runner.evaluation.results import Estimate

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


def duration(seconds: float) -> str:
    """``12.3 s``, ``4 min 05 s`` or ``1 h 02 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def percent(share: float) -> str:
    """``61.0 %``."""
    return f"{100 * share:.1f} %"


def sure(estimate: "Estimate") -> str:
    """A share with its interval: ``61.0 % (54.1-67.5)``."""
    return f"{percent(estimate.value)} ({100 * estimate.low:.1f}-{100 * estimate.high:.1f})"


def points(estimate: "Estimate") -> str:
    """A difference of shares with its interval, in points: ``+57.0 (+49.5 to +64.0)``."""
    value, low, high = (f"{100 * share:+.1f}" for share in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def probability(p: float) -> str:
    """``p < 0.001`` or ``p = 0.034``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"

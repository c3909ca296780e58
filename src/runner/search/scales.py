"""The axis of a key that a search may set.

Axes themselves are ``runner.report.scales``'s.
"""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from runner.report.scales import Choices, Linear, Logarithmic, Scale


def scale_of(distribution: BaseDistribution) -> Scale:
    """The axis of everything that a key may be; numbers among choices in order."""
    if isinstance(distribution, CategoricalDistribution):
        values = tuple(value for value in distribution.choices if value is not None)
        numbers = all(isinstance(value, int | float) for value in values)
        return Choices(tuple(sorted(values, key=float)) if numbers else values)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if low == high:
        return Linear(low - 0.5, high + 0.5)
    return Logarithmic(low, high) if distribution.log else Linear(low, high, isinstance(distribution, IntDistribution))

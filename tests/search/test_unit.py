"""Numbers as places in their range, and back."""

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from runner.search.unit import Numbers, from_unit, to_unit

NUMBERS: list[Numbers] = [
    FloatDistribution(1e-3, 1e-1, log=True),
    FloatDistribution(-1.0, 3.0),
    FloatDistribution(0.0, 0.9, step=0.3),
    IntDistribution(2, 8, step=3),
    IntDistribution(1, 64, log=True),
]


@pytest.mark.parametrize("numbers", NUMBERS)
def test_ends_are_0_and_1_and_nothing_lies_beyond(numbers: Numbers) -> None:
    assert (to_unit(numbers, numbers.low), to_unit(numbers, numbers.high)) == (0.0, 1.0)
    assert [from_unit(numbers, place) for place in (-0.5, 0.0, 1.0, 1.5)] == pytest.approx(
        [numbers.low, numbers.low, numbers.high, numbers.high]
    )


@pytest.mark.parametrize("numbers", NUMBERS)
def test_a_number_is_found_again_and_is_of_the_ranges_own_kind(numbers: Numbers) -> None:
    for tenth in range(11):
        value = from_unit(numbers, tenth / 10)
        assert isinstance(value, int) == isinstance(numbers, IntDistribution)
        assert numbers._contains(value)
        assert from_unit(numbers, to_unit(numbers, value)) == pytest.approx(value)


def test_the_middle_is_that_of_the_logarithm_where_the_range_is_spread_over_it() -> None:
    assert from_unit(NUMBERS[0], 0.5) == pytest.approx(1e-2)
    assert from_unit(NUMBERS[1], 0.5) == pytest.approx(1.0)
    assert [from_unit(NUMBERS[3], place) for place in (0.2, 0.3, 0.7, 0.8)] == [2, 5, 5, 8]

"""Intervals of shares against values published or computed another way."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.evaluation.statistics import Share, overlap

NORMAL_95 = 1.959963984540054


@pytest.mark.parametrize(
    ("solved", "questions", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # Newcombe, Statistics in Medicine 17 (1998), method 3
        (81, 263, 0.2553, 0.3662),  # the same, its first worked example
    ],
)
def test_wilson_intervals_equal_published_ones(solved: int, questions: int, low: float, high: float) -> None:
    assert Share(solved, questions).interval() == pytest.approx((low, high), abs=6e-5)


def test_humaneval_at_31_7_percent_is_known_to_7_1_points() -> None:
    low, high = Share(52, 164).interval()
    assert (high - low) / 2 == pytest.approx(0.071, abs=6e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_end_of_the_interval_is_a_share_that_the_score_test_just_rejects(counts: tuple[int, int]) -> None:
    solved, questions = counts
    for end in Share(solved, questions).interval():
        if 1e-12 < end < 1 - 1e-12:
            score = abs(solved / questions - end) / math.sqrt(end * (1 - end) / questions)
            assert score == pytest.approx(NORMAL_95, rel=1e-6)


def test_counts_overlap_only_when_their_intervals_do() -> None:
    assert overlap(Share(50, 100), Share(60, 100))
    assert not overlap(Share(5, 100), Share(50, 100))
    assert Share(0, 0).interval() == (0.0, 1.0)

"""Estimates, intervals and comparisons against values published, enumerated or computed another way."""

import math
import random
import statistics
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.evaluation.intervals import Share, overlap, wilson
from runner.evaluation.problems import CallCheck, Problem, Suite
from runner.evaluation.results import Arm, Estimate, Graded, Paired
from runner.evaluation.statistics import (
    compare,
    estimate_pass_at,
    mcnemar_exact,
    paired_difference,
    pass_at_k,
    summarize,
    verdict,
)

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


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_pass(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(combinations([place < c for place in range(n)], k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_refuses_more_than_there_are_samples() -> None:
    for n, c, k in ((4, 2, 5), (4, 5, 1), (4, -1, 1), (4, 2, 0)):
        with pytest.raises(AssertionError):
            pass_at_k(n, c, k)


def test_one_sample_a_problem_has_wilson_s_interval() -> None:
    estimate = estimate_pass_at([1] * 81 + [0] * 182, 1, 1)
    assert estimate == Estimate(81 / 263, *wilson(81, 263))
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=6e-5)
    assert estimate_pass_at([], 1, 1) == Estimate(0.0, 0.0, 1.0)


def resampled(values: Sequence[float]) -> tuple[float, float]:
    """The percentile interval by drawing problem after problem, with another generator."""
    drawing = random.Random(7)
    means = [statistics.fmean(drawing.choices(values, k=len(values))) for _ in range(4000)]
    cuts = statistics.quantiles(means, n=40)
    return cuts[0], cuts[-1]


def test_the_bootstrap_s_interval_equals_that_of_resampled_problems() -> None:
    passed = [0] * 30 + [1] * 10 + [3] * 8 + [10] * 12
    for k in (1, 5, 10):
        estimate = estimate_pass_at(passed, 10, k)
        values = [pass_at_k(10, count, k) for count in passed]
        assert estimate.value == pytest.approx(statistics.fmean(values))
        assert (estimate.low, estimate.high) == pytest.approx(resampled(values), abs=1.01 / len(passed))
        assert estimate_pass_at(passed, 10, k) == estimate


def test_the_interval_of_a_difference_equals_that_of_resampled_pairs() -> None:
    drawing = random.Random(3)
    first = [drawing.randint(0, 4) for _ in range(80)]
    second = [min(4, count + drawing.choice((0, 0, 1))) for count in first]
    values = [(b - a) / 4 for a, b in zip(first, second, strict=True)]
    difference = paired_difference(first, second, 4)
    assert difference.value == pytest.approx(statistics.fmean(values))
    assert (difference.low, difference.high) == pytest.approx(resampled(values), abs=0.005)
    assert difference.low > 0


def test_equal_values_have_an_interval_all_the_same() -> None:
    none, every = estimate_pass_at([0] * 20, 10, 5), estimate_pass_at([10] * 20, 10, 5)
    assert (none.low, none.high) == pytest.approx(wilson(0, 20))
    assert (every.low, every.high) == pytest.approx(wilson(20, 20))
    unchanged = paired_difference([1] * 20, [1] * 20, 1)
    assert unchanged.value == 0.0
    assert (-unchanged.low, unchanged.high) == pytest.approx((wilson(0, 20)[1],) * 2)
    assert paired_difference([0] * 20, [1] * 20, 1).high == 1.0


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_s_p_is_that_of_a_fair_coin(only_first: int, only_second: int) -> None:
    n = only_first + only_second
    chance = [Fraction(math.comb(n, heads), 2**n) for heads in range(n + 1)]
    as_uneven = sum(chance[heads] for heads in range(n + 1) if abs(2 * heads - n) >= abs(only_first - only_second))
    assert mcnemar_exact(only_first, only_second) == pytest.approx(float(as_uneven))


def problems(count: int, groups: Sequence[str] = ("",)) -> list[Problem]:
    return [Problem(f"p{i}", "", CallCheck(()), group=groups[i % len(groups)]) for i in range(count)]


def graded(arm: Arm, outcomes: Sequence[Sequence[bool]], trace_tokens: int | None = None) -> list[Graded]:
    """The answers, the last sample first: their order must not count."""
    return [
        Graded(f"p{place}", arm, sample, "passed" if passed else "cut", "", 10, trace_tokens, not passed, "", "")
        for place, samples in enumerate(outcomes)
        for sample, passed in reversed(list(enumerate(samples)))
    ]


def test_a_summary_counts_what_its_arm_answered() -> None:
    answers = graded("base", [(True, False), (False, False), (True, True)], trace_tokens=4)
    answers += graded("tuned", [(True, True)] * 3)
    summary = summarize("base", answers, problems(3, ("a", "", "b")))
    assert (summary.samples, summary.passed) == (2, (1, 0, 2))
    assert {k: estimate.value for k, estimate in summary.pass_at.items()} == pytest.approx({1: 1 / 2, 2: 2 / 3})
    assert {name: group.value for name, group in summary.groups.items()} == {"a": 0.5, "b": 1.0}
    assert summary.failures == {"cut": 3}
    assert (summary.cut_share, summary.mean_tokens, summary.mean_trace_tokens) == (0.5, 10, 4)
    assert summarize("tuned", answers, problems(3)).mean_trace_tokens is None


def test_problems_answered_unequally_often_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"\[1, 2\] times"):
        summarize("base", graded("base", [(True,), (True, False)]), problems(2))
    with pytest.raises(AssertionError, match="no answer"):
        summarize("native", graded("base", [(True,)]), problems(1))
    with pytest.raises(AssertionError, match="not asked equally often"):
        compare("base", "tuned", graded("base", [(True,)]) + graded("tuned", [(True, True)]), problems(1))


def test_pairs_are_counted_by_the_first_sample_and_their_difference_by_all() -> None:
    answers = graded("base", [(True, False), (False, True), (False, False), (True, True)])
    answers += graded("tuned", [(True, True), (True, True), (False, True), (False, True)])
    paired = compare("base", "tuned", answers, problems(4))
    assert (paired.both, paired.only_first, paired.only_second, paired.neither) == (1, 1, 1, 1)
    assert paired.difference.value == pytest.approx((1 + 1 + 1 - 1) / 8)
    assert paired.p_value == 1.0


def told(base: Sequence[bool], tuned: Sequence[bool], *, weak: bool = False) -> tuple[Paired, str]:
    asked = problems(len(base))
    answers = graded("base", [(passed,) for passed in base]) + graded("tuned", [(passed,) for passed in tuned])
    paired = compare("base", "tuned", answers, asked)
    suite = Suite("mbpp", "mbpp", tuple(asked), "0" * 16, "mbpp.jsonl", weak)
    return paired, verdict(paired, summarize("base", answers, asked), summarize("tuned", answers, asked), suite)


def test_the_verdict_tells_better_worse_and_no_detectable_change() -> None:
    few, many = [True] * 40 + [False] * 160, [True] * 80 + [False] * 120
    assert told(few, many)[1] == (
        "On mbpp the tuned model is better: pass@1 20.0 % before and 40.0 % after on 200 problems: 40 newly solved, "
        "0 lost; difference +20.0 points, 95 % interval +14.5 to +25.5, p < 0.001."
    )
    assert "the tuned model is worse" in told(many, few)[1]
    assert "0 newly solved, 40 lost; difference -20.0 points" in told(many, few)[1]
    assert "no detectable change" in told(few, few)[1]


def test_a_change_that_only_one_of_the_two_tests_sees_is_not_called_one() -> None:
    paired, sentence = told([False] * 200, [True] * 5 + [False] * 195)
    assert paired.difference.low > 0
    assert paired.p_value == 2 / 2**5 > 0.05
    assert "no detectable change" in sentence
    assert "p = 0.062" in sentence


def test_the_verdict_says_what_weakens_it() -> None:
    paired, sentence = told([True] * 10 + [False] * 10, [True] * 12 + [False] * 8, weak=True)
    reach = 50 * (paired.difference.high - paired.difference.low)
    assert f"few problems: a change of less than about {reach:.0f} points would not show" in sentence
    assert "weak tests" in sentence
    unweakened = told([True] * 200, [True] * 200)[1]
    assert "few problems" not in unweakened
    assert "weak" not in unweakened

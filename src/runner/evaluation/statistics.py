"""From graded answers to pass@k, intervals, the paired comparison of two arms and its verdict in words.

Grading is ``evaluate``'s; how the numbers are shown is ``runner.report``'s.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from runner.evaluation.intervals import wilson
from runner.evaluation.problems import Problem, Suite
from runner.evaluation.results import Arm, ArmSummary, Estimate, Graded, Paired

SIGNIFICANT = 0.05
KS = (1, 2, 5, 10, 20, 50, 100)
DRAWS = 10_000
SEED = 20
FEW_PROBLEMS = 100


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that one of ``k`` samples passes, without bias from ``n`` samples of which ``c`` did.

    1 - C(n - c, k) / C(n, k) as a product (Chen et al., Evaluating Large Language Models Trained on Code, 2021).
    """
    assert 1 <= k <= n, f"pass@{k} of {n} samples"
    assert 0 <= c <= n, f"{c} of {n} samples passed"
    return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))


def estimate_pass_at(passed: Sequence[int], samples: int, k: int) -> Estimate:
    """pass@k over problems; ``passed`` counts for each the samples, of ``samples``, that passed.

    The interval is Wilson's where every problem was asked once, else a percentile bootstrap over problems.
    """
    if not passed:
        return Estimate(0.0, *wilson(0, 0))
    if samples == k == 1:
        return Estimate(sum(passed) / len(passed), *wilson(sum(passed), len(passed)))
    return _bootstrap([pass_at_k(samples, count, k) for count in passed], least=0.0)


def paired_difference(first: Sequence[int], second: Sequence[int], samples: int) -> Estimate:
    """pass@1 of ``second`` less that of ``first`` on the same problems; percentile bootstrap over problems."""
    return _bootstrap([(b - a) / samples for a, b in zip(first, second, strict=True)], least=-1.0)


def _bootstrap(values: Sequence[float], *, least: float) -> Estimate:
    """The mean of ``values``, each from ``least`` to 1, with its 95 % percentile interval; same values, same interval.

    Equal values would give an interval of no width.  Then a share of the problems, up to Wilson's bound for none
    seen, is taken to differ as far as it can.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    mean = float(distinct @ counts / counts.sum())
    if len(distinct) == 1:
        unseen = wilson(0, len(values))[1]
        return Estimate(mean, mean - unseen * (mean - least), mean + unseen * (1.0 - mean))
    # how often each distinct value is drawn tells the mean of a draw: no draw is ever laid out problem by problem
    drawn = np.random.default_rng(SEED).multinomial(counts.sum(), counts / counts.sum(), size=DRAWS)
    low, high = np.percentile(drawn @ distinct / counts.sum(), [2.5, 97.5])
    return Estimate(mean, float(low), float(high))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's test: how often a fair coin splits the discordant problems at least as unevenly."""
    n = only_first + only_second
    tail = sum(math.comb(n, i) for i in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << n))


def summarize(arm: Arm, graded: Sequence[Graded], problems: Sequence[Problem]) -> ArmSummary:
    """How ``arm`` fared on ``problems``, each answered equally often; answers of other arms are left out."""
    samples = _samples(arm, graded, problems)
    passed = tuple(sum(answer.passed for answer in answers) for answers in samples)
    count = len(samples[0])
    answers = [answer for of_problem in samples for answer in of_problem]
    traces = [answer.trace_tokens for answer in answers if answer.trace_tokens is not None]
    return ArmSummary(
        arm=arm,
        samples=count,
        passed=passed,
        pass_at={k: estimate_pass_at(passed, count, k) for k in KS if k <= count},
        groups=_groups(passed, count, problems),
        failures=dict(sorted(Counter(answer.outcome for answer in answers if not answer.passed).items())),
        cut_share=sum(answer.cut for answer in answers) / len(answers),
        mean_tokens=sum(answer.tokens for answer in answers) / len(answers),
        mean_trace_tokens=sum(traces) / len(traces) if traces else None,
    )


def compare(first: Arm, second: Arm, graded: Sequence[Graded], problems: Sequence[Problem]) -> Paired:
    """The two arms on ``problems``, each answered equally often by both: counts by the first sample of each."""
    pairs = list(zip(_samples(first, graded, problems), _samples(second, graded, problems), strict=True))
    cells = Counter((a[0].passed, b[0].passed) for a, b in pairs)
    passed = [tuple(sum(answer.passed for answer in answers) for answers in pair) for pair in pairs]
    only_first, only_second = cells[True, False], cells[False, True]
    assert all(len(a) == len(b) for a, b in pairs), f"{first} and {second} were not asked equally often"
    return Paired(
        first=first,
        second=second,
        both=cells[True, True],
        only_first=only_first,
        only_second=only_second,
        neither=cells[False, False],
        difference=paired_difference([a for a, _ in passed], [b for _, b in passed], len(pairs[0][0])),
        p_value=mcnemar_exact(only_first, only_second),
    )


def verdict(paired: Paired, base: ArmSummary, tuned: ArmSummary, suite: Suite) -> str:
    """One sentence: better, worse or no detectable change, by which counts, and what weakens it.

    A change counts as detected when the interval of the difference leaves 0 out and p is below 0.05.
    """
    difference = paired.difference
    clear = (difference.low > 0.0 or difference.high < 0.0) and paired.p_value < SIGNIFICANT
    change = "the tuned model is better" if difference.value > 0 else "the tuned model is worse"
    found = change if clear else "no detectable change"
    problems = (
        f"{len(base.passed)} problems"
        if base.samples == 1
        else (f"{len(base.passed)} problems with {base.samples} samples each, counts by the first")
    )
    counts = (
        f"pass@1 {_percent(base.pass_at[1])} before and {_percent(tuned.pass_at[1])} after on {problems}: "
        f"{paired.only_second} newly solved, {paired.only_first} lost; difference {_points(difference.value)} points, "
        f"95 % interval {_points(difference.low)} to {_points(difference.high)}, {_p(paired.p_value)}"
    )
    return f"On {suite.name} {found}: {'; '.join([counts, *_weaknesses(difference, suite, len(base.passed))])}."


def _weaknesses(difference: Estimate, suite: Suite, problems: int) -> list[str]:
    found = []
    if suite.weak:
        found.append("weak tests: they are only the examples that each statement shows")
    if problems < FEW_PROBLEMS:
        reach = 100 * (difference.high - difference.low) / 2
        found.append(f"few problems: a change of less than about {reach:.0f} points would not show")
    return found


def _samples(arm: Arm, graded: Sequence[Graded], problems: Sequence[Problem]) -> list[list[Graded]]:
    """The arm's answers by problem, in the order of ``problems`` and of their samples."""
    found: Mapping[str, list[Graded]] = defaultdict(list)
    for answer in graded:
        if answer.arm == arm:
            found[answer.problem].append(answer)
    samples = [sorted(found[problem.id], key=lambda answer: answer.sample) for problem in problems]
    sizes = {len(answers) for answers in samples}
    assert len(sizes) == 1, f"{arm}: problems were answered {sorted(sizes)} times"
    assert sizes != {0}, f"{arm}: no answer"
    return samples


def _groups(passed: Sequence[int], samples: int, problems: Sequence[Problem]) -> dict[str, Estimate]:
    """pass@1 by group, by name; problems of no group are left out."""
    groups: dict[str, list[int]] = defaultdict(list)
    for count, problem in zip(passed, problems, strict=True):
        if problem.group:
            groups[problem.group].append(count)
    return {name: estimate_pass_at(groups[name], samples, 1) for name in sorted(groups)}


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"

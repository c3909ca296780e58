"""Runs against each other: evaluations that can be compared, the best two, and whether they can be told apart.

How it is shown is ``compare_page``'s; the statistics are ``runner.evaluation``'s.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

from runner.evaluation.results import Asking, Estimate
from runner.evaluation.statistics import SIGNIFICANT, mcnemar_exact, paired_difference
from runner.report.evaluated import Evaluated
from runner.report.facts import facts_of
from runner.report.page_cards import environment
from runner.report.run_page import RunPage
from runner.report.run_verdict import verdict_of
from runner.report.wording import listed, loss, percent, points, probability

Key = tuple[str, Asking]


@dataclass(frozen=True)
class Entry:
    """A run with its evaluation on a suite that others share."""

    run: str
    found: Evaluated

    @property
    def pass_1(self) -> Estimate:
        """Of the tuned model."""
        tuned = self.found.evaluation.arm("tuned")
        assert tuned is not None
        return tuned.pass_at[1]


@dataclass(frozen=True)
class Duel:
    """The best run against the second: counts by the first answer, the difference by all, best less second.

    ``p_value`` is McNemar's times ``pairs``, for the two were chosen among as many pairs of runs (Bonferroni).
    """

    best: Entry
    second: Entry
    both: int
    only_best: int
    only_second: int
    neither: int
    difference: Estimate
    p_value: float
    pairs: int

    @property
    def detectable(self) -> bool:
        """Whether the two can be told apart."""
        apart = self.difference.low > 0 or self.difference.high < 0
        return apart and self.p_value < SIGNIFICANT


def shared_suites(pages: Sequence[RunPage]) -> tuple[tuple[Entry, ...], ...]:
    """The entries of each suite that was asked in the same way, those of most runs first.

    Same suite means the same fingerprint; of a run that was evaluated on it twice the first evaluation counts.
    """
    found: dict[Key, dict[str, Entry]] = {}
    for page in pages:
        name = page.run.summary.name
        for each in page.evaluations:
            tuned = each.evaluation.arm("tuned")
            if tuned is not None and 1 in tuned.pass_at:
                key = each.evaluation.suite.fingerprint, each.evaluation.asking
                found.setdefault(key, {}).setdefault(name, Entry(name, each))
    return tuple(sorted((tuple(entries.values()) for entries in found.values()), key=lambda entries: -len(entries)))


def duel(entries: Sequence[Entry]) -> Duel:
    """The two highest by pass@1 of at least two entries of one suite."""
    best, second, *_ = sorted(entries, key=lambda entry: -entry.pass_1.value)
    outcomes = {entry.run: _solved(entry) for entry in (best, second)}
    cells = Counter((outcomes[best.run][name], outcomes[second.run][name]) for name in outcomes[best.run])
    pairs = comb(len(entries), 2)
    tuned = [entry.found.evaluation.arm("tuned") for entry in (second, best)]
    assert tuned[0] is not None
    assert tuned[1] is not None
    return Duel(
        best,
        second,
        both=cells[True, True],
        only_best=cells[True, False],
        only_second=cells[False, True],
        neither=cells[False, False],
        difference=paired_difference(tuned[0].passed, tuned[1].passed, tuned[0].samples),
        p_value=min(1.0, pairs * mcnemar_exact(cells[True, False], cells[False, True])),
        pairs=pairs,
    )


def _solved(entry: Entry) -> Mapping[str, bool]:
    answers = entry.found.first_answers
    return {problem: answer.passed for (problem, arm), answer in answers.items() if arm == "tuned"}


def comparison_verdict(pages: Sequence[RunPage]) -> str:
    """One sentence: of one run its own verdict, else that of the best pair, by ability if two share a suite."""
    if len(pages) == 1:
        return verdict_of(pages[0].run, pages[0].evaluations, pages[0].evaluate)
    suites = shared_suites(pages)
    if suites and len(suites[0]) > 1:
        return duel_verdict(duel(suites[0]))
    return _by_loss(pages)


def duel_verdict(found: Duel) -> str:
    """Which of the two is better, or that it cannot be told, and by which numbers."""
    best, second, suite = found.best, found.second, found.best.found.evaluation.suite
    claim = f"{best.run} solves more than {second.run}" if found.detectable else _undecided(found)
    corrected = f", for {found.pairs} pairs of runs" if found.pairs > 1 else ""
    weak = "; the suite's tests are weak" if suite.weak else ""
    return (
        f"On {suite.name} {claim}: pass@1 {percent(best.pass_1.value)} against {percent(second.pass_1.value)}, "
        f"difference {points(found.difference)} points; of {suite.problems:,} problems only {best.run} solves "
        f"{found.only_best:,}, only {second.run} {found.only_second:,}, {probability(found.p_value)}{corrected}{weak}."
    )


def _undecided(found: Duel) -> str:
    return f"no difference between {found.best.run} and {found.second.run} can be detected"


def _by_loss(pages: Sequence[RunPage]) -> str:
    """By validation loss where the data is the same; it never claims more than that."""
    unmeasured = "ability was not measured on one suite in the same way"
    lasts = [(facts.last[1], page) for page in pages if (facts := facts_of(page.run)).last is not None]
    prints = {_data_of(page) for _, page in lasts}
    if len(lasts) < 2:
        return f"Nothing can be compared: {unmeasured}, and fewer than two runs have a validation loss."
    if len(prints) > 1 or None in prints:
        return f"Nothing can be compared: the losses are of different data, and {unmeasured}."
    (low, best), (high, second), *_ = sorted(lasts, key=lambda each: each[0])
    names = listed([best.run.summary.name, second.run.summary.name])
    return (
        f"{best.run.summary.name} has the lowest validation loss: {loss(low)} against {loss(high)} nats a token of "
        f"{second.run.summary.name} on the same held-out questions; one run each of {names} cannot tell it from luck, "
        f"and {unmeasured}."
    )


def _data_of(page: RunPage) -> str | None:
    fingerprints = environment(page.run).get("fingerprints")
    found = fingerprints.get("data") if isinstance(fingerprints, Mapping) else None
    return found if isinstance(found, str) else None

"""Every measured pair of a configuration and a stop step: its loss, its cost, how surely it differs from another.

Which pair is the answer is ``answer``'s.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.config.search import Objective
from runner.search.proposals import loss_of
from runner.search.records import Measured, Rung, Study, Trial, Value


@dataclass(frozen=True)
class Pair:
    """What a run with ``values`` that ends at ``stop_step`` gives and takes."""

    trial: int
    values: Mapping[str, Value]
    stop_step: int
    loss: float  # the one that is searched, nats a token
    minutes: float  # of training, predicted at the configuration's own rank
    question_sums: tuple[float, ...]  # nats of all learned tokens of each held-out question
    decayed: bool = True  # False: it ends in the stable phase, where a decay gave more


@dataclass(frozen=True)
class Difference:
    """How much more one pair's loss is than another's on the same questions, nats a token."""

    nats: float
    standard_error: float | None  # None: fewer than two questions with tokens


def pairs_of(study: Study, objective: Objective) -> tuple[Pair, ...]:
    """All pairs with a finite loss, by trial and stop step; of trials in whatever state.

    Of a stop step that was measured with and without a decay it is the lower; of equals that with one.
    """
    return tuple(pair for trial in study.trials for pair in _pairs(trial, objective))


def _pairs(trial: Trial, objective: Objective) -> Iterator[Pair]:
    found: dict[int, tuple[float, Measured]] = {}
    for measured in trial.measured:
        stop, loss = measured.stop_step, loss_of(measured, objective)
        if math.isfinite(loss) and (stop not in found or loss < found[stop][0]):
            found[stop] = loss, measured
    for stop, (loss, measured) in sorted(found.items()):
        minutes = trial.step_s * stop / 60
        yield Pair(trial.number, trial.values, stop, loss, minutes, measured.question_sums, isinstance(measured, Rung))


@dataclass(frozen=True)
class Decay:
    """What a decay gives at a stop step of one trial: how much less than ending without it, nats a token."""

    stop_step: int
    nats: float


def decays_of(trial: Trial, objective: Objective) -> tuple[Decay, ...]:
    """The stop steps at which ``trial`` was measured both ways."""
    with_it = {rung.stop_step: loss_of(rung, objective) for rung in trial.rungs}
    stable = {each.stop_step: loss_of(each, objective) for each in trial.stable}
    return tuple(Decay(stop, stable[stop] - with_it[stop]) for stop in sorted(with_it.keys() & stable.keys()))


def lowest(pairs: Iterable[Pair]) -> Pair | None:
    """The pair with the lowest loss; of equals the earliest, then the cheapest, then the first trial's."""
    return min(pairs, key=lambda pair: (pair.loss, pair.stop_step, pair.minutes, pair.trial), default=None)


def difference(pair: Pair, other: Pair, question_tokens: Sequence[int]) -> Difference:
    """``pair``'s loss less ``other``'s, and the standard error that the choice of questions gives it.

    A loss is a ratio, all nats over all tokens, so the error is that of a ratio estimator (W. G. Cochran, Sampling
    Techniques, 3rd edition, 1977, chapter 6; questions drawn from many): with d_q the difference of a question's nats,
    n_q its tokens, Q questions and D = sum d / sum n it is sqrt(Q / (Q - 1) * sum (d_q - D n_q)^2) / sum n.
    It is taken over all learned tokens, also where the loss of a part is searched.
    """
    nats = pair.loss - other.loss
    counted = [
        (one - two, tokens)
        for one, two, tokens in zip(pair.question_sums, other.question_sums, question_tokens, strict=True)
        if tokens
    ]
    if len(counted) < 2:
        return Difference(nats, None)
    tokens = sum(n for _, n in counted)
    ratio = math.fsum(d for d, _ in counted) / tokens
    squares = math.fsum((d - ratio * n) ** 2 for d, n in counted)
    return Difference(nats, math.sqrt(len(counted) / (len(counted) - 1) * squares) / tokens)


def front(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """The pairs that no other beats in loss or minutes without losing in the other, cheapest first."""
    kept: list[Pair] = []
    for pair in sorted(pairs, key=lambda pair: (pair.minutes, pair.loss, pair.stop_step, pair.trial)):
        if not kept or pair.loss < kept[-1].loss:
            kept.append(pair)
    return tuple(kept)


def earliest_within(
    best: Pair, pairs: Iterable[Pair], question_tokens: Sequence[int], tolerance: float | None
) -> tuple[Pair, Difference]:
    """The lowest pair of the earliest stop step at which one is as good as ``best``, and its difference from it.

    As good is a loss at most ``tolerance`` above; None: twice the standard error of the difference, and nothing above
    it where there are too few questions to tell.
    """
    near = []
    for pair in pairs:
        apart = difference(pair, best, question_tokens)
        allowed = 2 * (apart.standard_error or 0.0) if tolerance is None else tolerance
        if apart.nats <= allowed:
            near.append(pair)
    first = min(pair.stop_step for pair in near)
    chosen = lowest(pair for pair in near if pair.stop_step == first)
    assert chosen is not None
    return chosen, difference(chosen, best, question_tokens)

"""What a study shows: the best pair, the earliest as good, the trade of loss against minutes, what matters, the noise.

The words for it are ``verdict``'s.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from runner.config.search import Objective
from runner.search.importance import Importance, importance_of
from runner.search.noise import Noise, noise_of
from runner.search.pairs import Decay, Difference, Pair, decays_of, difference, earliest_within, front, lowest, pairs_of
from runner.search.records import Study, Value
from runner.search.space import STOP_STEP

EDGE = 0.05  # part of a range next to its end that counts as its edge
FEWEST_TRIALS = 4  # measured, before the edge of a range means anything
Side = Literal["smallest", "largest"]


@dataclass(frozen=True)
class Behind:
    """A pair, and how far it lies behind the best."""

    pair: Pair
    apart: Difference


@dataclass(frozen=True)
class Findings:
    """Everything that follows from a study; every ``Pair`` is one of ``pairs``."""

    objective: Objective
    distributions: Mapping[str, BaseDistribution]  # of every searched key, and of the stop step
    stop_steps: tuple[int, ...]
    base_loss: float  # of all learned tokens, whatever is searched
    questions: int
    endings: Mapping[str, int]  # trials by how they ended; "running" for those that have not
    pairs: tuple[Pair, ...]
    best: Pair | None
    tolerance: float | None  # None: twice the standard error of the difference
    earliest: Pair | None
    earliest_apart: Difference | None  # from the best
    rival: Behind | None  # the lowest pair of another configuration
    by_stop_step: tuple[Behind, ...]  # the lowest pair of each stop step
    front: tuple[Pair, ...]
    importance: tuple[Importance, ...] | None
    noise: Noise | None
    edges: Mapping[str, Side]  # keys of which the best value is at an end of its range
    decays: tuple[Decay, ...]  # of the best trial

    @property
    def keys(self) -> tuple[str, ...]:
        """The searched keys of the job, the stop step left out."""
        return tuple(key for key in self.distributions if key != STOP_STEP)

    def allowed(self, apart: Difference) -> float:
        """What a pair that is ``apart`` from the best may lose to count as equally good, nats a token."""
        return 2 * (apart.standard_error or 0.0) if self.tolerance is None else self.tolerance


@dataclass(frozen=True)
class Asked:
    """What a search asked for."""

    objective: Objective
    stop_steps: tuple[int, ...]
    tolerance: float | None
    distributions: Mapping[str, BaseDistribution]  # of every key, and of the stop step


def find(study: Study, asked: Asked) -> Findings:
    """What ``study`` shows; the same study gives the same findings."""
    pairs = pairs_of(study, asked.objective)
    best = lowest(pairs)
    earliest = apart = rival = None
    by_stop_step: tuple[Behind, ...] = ()
    if best is not None:
        tokens = study.question_tokens
        earliest, apart = earliest_within(best, pairs, tokens, asked.tolerance)
        second = lowest(pair for pair in pairs if pair.trial != best.trial and pair.values != best.values)
        rival = None if second is None else Behind(second, difference(second, best, tokens))
        each = (lowest(pair for pair in pairs if pair.stop_step == stop) for stop in asked.stop_steps)
        by_stop_step = tuple(Behind(pair, difference(pair, best, tokens)) for pair in each if pair is not None)
    return Findings(
        objective=asked.objective,
        distributions=asked.distributions,
        stop_steps=asked.stop_steps,
        base_loss=study.base_loss,
        questions=len(study.question_tokens),
        endings=Counter(trial.ending or "running" for trial in study.trials),
        pairs=pairs,
        best=best,
        tolerance=asked.tolerance,
        earliest=earliest,
        earliest_apart=apart,
        rival=rival,
        by_stop_step=by_stop_step,
        front=front(pairs),
        importance=importance_of(pairs, asked.distributions),
        noise=noise_of(study, pairs, asked.objective),
        edges=_edges(best, asked) if best is not None and len({p.trial for p in pairs}) >= FEWEST_TRIALS else {},
        decays=() if best is None else decays_of(study.trials[best.trial], asked.objective),
    )


def _edges(best: Pair, asked: Asked) -> dict[str, Side]:
    """Keys whose best value has no room beside it, so that a better one may lie outside; the stop step too."""
    values: dict[str, Value] = {**best.values, STOP_STEP: best.stop_step}
    sides = {key: _side(values[key], spread) for key, spread in asked.distributions.items()}
    if sides.get(STOP_STEP) == "smallest":
        sides[STOP_STEP] = None
    return {key: side for key, side in sides.items() if side is not None}


def _side(value: Value, spread: BaseDistribution) -> Side | None:
    """Which end of the range a number is at; None for one inside, for other values, and for fewer than three."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(spread, CategoricalDistribution):
        numbers = [choice for choice in spread.choices if isinstance(choice, int | float)]
        if len(numbers) < 3:
            return None
        return "smallest" if value == min(numbers) else "largest" if value == max(numbers) else None
    assert isinstance(spread, FloatDistribution | IntDistribution)
    place = _place(value, spread)
    return "smallest" if place < EDGE else "largest" if place > 1 - EDGE else None


def _place(value: float, spread: FloatDistribution | IntDistribution) -> float:
    """Where in its range a number lies, from 0 to 1."""
    low, high = float(spread.low), float(spread.high)
    if spread.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)

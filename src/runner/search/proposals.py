"""Which values are tried next: an Optuna study of every loss measured so far, asked with a sampler of the trial's own.

The study is built anew from the records for each proposal: the same records and number give the same values, in one
process or after a resume.  Running what is proposed is for others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from runner.config.search import Objective
from runner.search.records import Rung, Trial, Value
from runner.search.space import STOP_STEP, Space

STARTUP_TRIALS = 5  # configurations drawn at random before losses steer; each gives a loss for several stop steps
SIGNIFICANT = 4  # digits of a proposed number that any value may have
MEMORY = "memory"  # the constraint that a configuration which does not fit breaks


@dataclass(frozen=True)
class Proposal:
    """Values by key of the job, and the stop step proposed with them."""

    values: Mapping[str, Value]
    stop_step: int


def propose(space: Space, trials: Sequence[Trial], number: int) -> Proposal:
    """The values of trial ``number``, which follow from the ``trials`` so far and ``(seed, number)`` alone."""
    study = study_of(space.distributions, trials, space.search.objective, sampler=_sampler(space, number))
    drawn = study.ask(fixed_distributions=space.distributions).params
    values = {key: _rounded(drawn[key], space.distributions[key]) for key in space.search.space}
    return Proposal(values, int(drawn[STOP_STEP]))


def study_of(
    distributions: Mapping[str, BaseDistribution],
    trials: Iterable[Trial],
    objective: Objective,
    *,
    sampler: BaseSampler | None = None,
) -> optuna.Study:
    """A study in which every (values, stop step, loss) is a trial of its own.

    The one that was proposed is told the loss of its own stop step only: it is complete with it, pruned when the
    trial ended without reaching it, running while it may still be reached, infeasible when nothing could be trained.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=sampler or RandomSampler(seed=0))
    for trial in trials:
        if trial.ending != "failed" or trial.rungs:
            study.add_trials(_observations(dict(distributions), trial, objective))
    return study


def loss_of(rung: Rung, objective: Objective) -> float:
    """The loss that is searched, nats a token; infinite where the held-out answers have no such token."""
    loss = {"validation": rung.loss, "think": rung.think_loss, "answer": rung.answer_loss}[objective]
    return math.inf if loss is None else loss


def _observations(
    distributions: dict[str, BaseDistribution], trial: Trial, objective: Objective
) -> Iterable[FrozenTrial]:
    """The proposed pair first, then the other rungs."""
    losses = {rung.stop_step: loss_of(rung, objective) for rung in trial.rungs}
    own = losses.pop(trial.stop_step, None)
    state = TrialState.COMPLETE if own is not None else TrialState.PRUNED if trial.ending else TrialState.RUNNING
    pairs = [(trial.stop_step, state, own), *((stop, TrialState.COMPLETE, loss) for stop, loss in losses.items())]
    for stop_step, state, loss in pairs:
        yield create_trial(
            state=state,
            value=loss,
            params={**trial.values, STOP_STEP: stop_step},
            distributions=distributions,
            user_attrs={"trial": trial.number},
            constraints={MEMORY: 1.0 if trial.ending == "infeasible" else 0.0} if trial.ending else None,
        )


def _sampler(space: Space, number: int) -> BaseSampler:
    seed = int(np.random.SeedSequence((space.search.seed, number)).generate_state(1)[0])
    if space.search.sampler == "random" or number < STARTUP_TRIALS:
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True)


def _rounded(value: Value, distribution: BaseDistribution) -> Value:
    """A number of few digits, so that files stay readable; it stays inside the range."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
        return value
    low, high = float(distribution.low), float(distribution.high)
    return min(max(float(f"{value:.{SIGNIFICANT}g}"), low), high)

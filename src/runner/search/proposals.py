"""Which values are tried next: an Optuna study of every loss measured so far, asked with a sampler of the trial's own.

The first trials are spread evenly over the space and the last are drawn close to the best.  The study is built anew
from the records for each proposal: the same records and number give the same values, in one process or after a
resume.  Running what is proposed is for others.
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
from runner.search.legs import refining_from
from runner.search.records import Measured, Trial, Value
from runner.search.space import STOP_STEP, Space, labels, numbers_of
from runner.search.unit import from_unit, to_unit

STARTUP_TRIALS = 8  # configurations spread over the space before losses steer
NEAR = 0.02  # of a range: how far from the best the last trials are drawn, a standard deviation
SIGNIFICANT = 4  # digits of a proposed number that any value may have
MEMORY = "memory"  # the constraint that a configuration which does not fit breaks


@dataclass(frozen=True)
class Proposal:
    """Values by key of the job, and the stop step proposed with them."""

    values: Mapping[str, Value]
    stop_step: int


def propose(space: Space, trials: Sequence[Trial], number: int) -> Proposal:
    """The values of trial ``number``, which follow from the ``trials`` so far and ``(seed, number)`` alone."""
    if space.search.sampler == "tpe" and number < STARTUP_TRIALS:
        drawn = _spread(space, number)
    else:
        sampler, objective = _sampler(space, number), space.search.objective
        study = study_of(space.distributions, trials, objective, sampler=sampler, held_back=False)
        drawn = study.ask(fixed_distributions=space.distributions).params
        if number >= refining_from(space.search):
            drawn = _near_best(space, trials, number) or drawn
    values = {key: _rounded(drawn[key], space.distributions[key]) for key in space.search.space}
    return Proposal(values, int(drawn[STOP_STEP]))


def study_of(
    distributions: Mapping[str, BaseDistribution],
    trials: Iterable[Trial],
    objective: Objective,
    *,
    sampler: BaseSampler | None = None,
    held_back: bool = True,
) -> optuna.Study:
    """A study in which every (values, stop step, loss) is a trial of its own.

    The one that was proposed is told the loss of its own stop step only: it is complete with it, pruned when the
    trial ended without reaching it, running while it may still be reached, infeasible when nothing could be trained.
    Without ``held_back`` those are left out that were not reached though nothing was wrong with them: a sampler would
    take them for bad ones, and places were few.  One that diverged is bad, and stays.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=sampler or RandomSampler(seed=0))
    for trial in trials:
        if trial.ending != "failed" or trial.rungs:
            observations = _observations(dict(distributions), trial, objective)
            study.add_trials(seen for seen in observations if held_back or not _was_held_back(trial, seen))
    return study


def loss_of(measured: Measured, objective: Objective) -> float:
    """The loss that is searched, nats a token; infinite where the held-out answers have no such token."""
    loss = {"validation": measured.loss, "think": measured.think_loss, "answer": measured.answer_loss}[objective]
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


def _was_held_back(trial: Trial, seen: FrozenTrial) -> bool:
    return seen.state is TrialState.PRUNED and trial.ending in ("stopped", "failed")


def _spread(space: Space, number: int) -> dict[str, Value]:
    """Values of one of the first trials: a Latin hypercube (M. D. McKay and others, Technometrics 21, 1979).

    Of a range each of so many equal parts has one trial; choices take turns, each before any comes again.  The stop
    step is the last, for those before it are measured on the way.
    """
    random, numbers = np.random.default_rng(space.search.seed), numbers_of(space.search)
    drawn: dict[str, Value] = {STOP_STEP: space.search.stop_steps[-1]}
    for key, values in space.search.space.items():
        if key in numbers:
            parts = random.permutation(STARTUP_TRIALS) + random.random(STARTUP_TRIALS)
            drawn[key] = from_unit(numbers[key], float(parts[number]) / STARTUP_TRIALS)
        else:
            choices = tuple(labels(values))
            turns = np.concatenate([random.permutation(len(choices)) for _ in range(STARTUP_TRIALS)])
            drawn[key] = choices[turns[number]]
    return drawn


def _near_best(space: Space, trials: Sequence[Trial], number: int) -> dict[str, Value] | None:
    """The choices of the lowest loss so far, and numbers close to its own; None where that is no new configuration.

    Optuna's kernels are a fifth of a range wide where there are few losses, wider than what is left to be found.
    """
    losses = [
        (loss_of(rung, space.search.objective), rung.stop_step, trial.number)
        for trial in trials
        for rung in trial.rungs
    ]
    if not losses:
        return None
    _, stop_step, best = min(losses)
    random, drawn = np.random.default_rng((space.search.seed, number)), dict(trials[best].values)
    for key, numbers in numbers_of(space.search).items():
        place = to_unit(numbers, float(drawn[key])) + NEAR * random.standard_normal()
        drawn[key] = _rounded(from_unit(numbers, place), numbers)
    return None if any(drawn == trial.values for trial in trials) else {**drawn, STOP_STEP: stop_step}


def _sampler(space: Space, number: int) -> BaseSampler:
    seed = int(np.random.SeedSequence((space.search.seed, number)).generate_state(1)[0])
    if space.search.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True)


def _rounded(value: Value, distribution: BaseDistribution) -> Value:
    """A number of few digits, so that files stay readable; it stays inside the range."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
        return value
    low, high = float(distribution.low), float(distribution.high)
    return min(max(float(f"{value:.{SIGNIFICANT}g}"), low), high)

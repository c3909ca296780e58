"""What a loss at an early stop step says of the last: how what is best moves as training gets longer.

A short run favours high learning rates (on the demo the best is 9e-3 at step 25 and 5e-3 at step 200), so the losses
of an early step alone would let the wrong trials go on.  How much is learnt from the trials that measured several.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.config.search import Search
from runner.search.proposals import loss_of
from runner.search.records import Study, Trial
from runner.search.space import numbers_of
from runner.search.unit import Numbers, to_unit

RIDGE = 0.1  # what a slope must be worth, (ln of a loss)^2: a few trials that differ by noise give next to none
LEAST_LOSS = 1e-9  # nats a token; a loss has a logarithm


@dataclass(frozen=True)
class Outlook:
    """Slopes by which losses at one stop step are read as losses at the last."""

    numbers: Mapping[str, Numbers]  # the searched keys that are numbers
    slopes: NDArray[np.float64]  # by key: ln of the loss, from end to end of its range, for each doubling of the steps
    last: int

    def at_last(self, trial: Trial, stop_step: int, loss: float) -> float:
        """The logarithm of ``trial``'s loss at the last stop step, but for a term that is the same for every trial."""
        doublings = math.log2(self.last / stop_step)
        return math.log(max(loss, LEAST_LOSS)) + doublings * float(self.slopes @ _places(self.numbers, trial))


def outlook_of(study: Study, search: Search) -> Outlook:
    """The outlook by what ``study`` has measured so far; all slopes are zero before a trial has two losses.

    ln loss = (the trial's own) + (the stop step's own) + log2(stop step) * sum of slope_k * place_k, by least squares
    within trials, what is a trial's own falling out with its mean (Y. Mundlak, Econometrica 46, 1978); the slopes are
    held small by a ridge (A. E. Hoerl and R. W. Kennard, Technometrics 12, 1970).
    """
    numbers = numbers_of(search)
    several = [(trial, _losses(trial, search)) for trial in study.trials]
    several = [(trial, losses) for trial, losses in several if len(losses) > 1]
    slopes: NDArray[np.float64] = np.zeros(len(numbers))
    if several and numbers:
        stops = sorted({stop for _, losses in several for stop in losses})
        rows = [_within(_row(numbers, trial, stop, stops) for stop in losses) for trial, losses in several]
        seen = [_within(np.log([loss]) for loss in losses.values()) for _, losses in several]
        of_trials, of_losses = np.concatenate(rows), np.concatenate(seen)[:, 0]
        held = np.diag([RIDGE] * len(numbers) + [LEAST_LOSS] * len(stops))
        solved = np.linalg.solve(of_trials.T @ of_trials + held, of_trials.T @ of_losses)
        slopes = np.asarray(solved[: len(numbers)], dtype=np.float64)
    return Outlook(numbers, slopes, search.stop_steps[-1])


def _losses(trial: Trial, search: Search) -> dict[int, float]:
    losses = {rung.stop_step: max(loss_of(rung, search.objective), LEAST_LOSS) for rung in trial.rungs}
    return {stop: loss for stop, loss in losses.items() if math.isfinite(loss)}


def _places(numbers: Mapping[str, Numbers], trial: Trial) -> NDArray[np.float64]:
    return np.array([to_unit(spread, float(trial.values[key])) for key, spread in numbers.items()])


def _row(numbers: Mapping[str, Numbers], trial: Trial, stop: int, stops: list[int]) -> NDArray[np.float64]:
    return np.append(math.log2(stop) * _places(numbers, trial), [float(stop == other) for other in stops])


def _within(rows: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """``rows`` less their mean."""
    table = np.array(list(rows))
    return np.asarray(table - table.mean(axis=0))

"""Which trials of a study go on, and how far: by halving, and the best of all to every stop step.

It follows from the study alone, so a search that is gone on with chooses as one that was left alone.
"""

from typing import TypeAlias

from runner.config.search import Objective, Search
from runner.search.legs import COMPLETED, leg_after, leg_ends, stops_due
from runner.search.outlook import outlook_of
from runner.search.proposals import loss_of
from runner.search.records import Study, Trial
from runner.search.rungs import Standing, next_to_go_on, why_waits

GoingOn: TypeAlias = tuple[int, int]  # a trial, and the stop step at which its leg ends


def standings(study: Study, search: Search, stop_step: int) -> list[Standing]:
    """Every trial that measured the halving step ``stop_step``, by what its loss there says of the last stop step."""
    found, outlook = [], outlook_of(study, search)
    for trial in study.trials:
        losses = [loss_of(rung, search.objective) for rung in trial.rungs if rung.stop_step == stop_step]
        if losses:
            waits = trial.until == stop_step and trial.ending in ("stopped", None)
            at_last = outlook.at_last(trial, stop_step, losses[0])
            found.append(Standing(trial.number, at_last, trial.until > stop_step, waits))
    return found


def to_go_on(study: Study, search: Search, *, closing: bool) -> GoingOn | None:
    """The trial that goes on next from a halving step; None when none does.

    The furthest step comes first; ``closing``, when no trial is to come any more, the first, which others may follow.
    """
    holding = leg_ends(search)[:-1]
    for stop_step in holding if closing else reversed(holding):
        number = next_to_go_on(standings(study, search, stop_step), search.reduction_factor, closing=closing)
        if number is not None:
            return number, leg_after(search, stop_step)
    return None


def goes_straight_on(study: Study, search: Search, number: int, *, closing: bool) -> GoingOn | None:
    """Trial ``number`` and its next leg if it is the one to go on from where its leg has ended."""
    until = study.trials[number].until
    on = number, leg_after(search, until)
    if next_to_go_on(standings(study, search, until), search.reduction_factor, closing=False) == number:
        return on
    return on if closing and to_go_on(study, search, closing=True) == on else None


def why_held_back(study: Study, search: Search, number: int) -> str:
    """Why trial ``number`` does not go on now."""
    until = study.trials[number].until
    return why_waits(standings(study, search, until), number, until, search.reduction_factor)


def to_complete(study: Study, search: Search) -> GoingOn | None:
    """The next of the best that has not measured every stop step; one that came to a bad end is left as it is."""
    last = search.stop_steps[-1]
    for trial in best_trials(study, search.objective)[:COMPLETED]:
        if trial.ending in ("stopped", "finished") and stops_due(search, trial):
            return trial.number, last
    return None


def best_trials(study: Study, objective: Objective) -> list[Trial]:
    """The trials that measured something, the lowest loss of any stop step first."""
    measured = [trial for trial in study.trials if trial.rungs]
    return sorted(measured, key=lambda trial: (min(loss_of(each, objective) for each in trial.measured), trial.number))

"""The legs of a trial: how far it trains before it is held against others, and which stop steps it measures there.

Which trials go on is ``rungs``'s; what that takes, ``space``'s.
"""

from collections.abc import Sequence

from runner.config.search import Search
from runner.search.records import Trial
from runner.search.rungs import halving_steps

BEST = 2  # configurations that are trained again with other seeds
COMPLETED = 1  # configurations of which every stop step is measured, the best first
REFINING = 24  # one trial in so many is drawn close to the best, after all others


def repeats_of(search: Search) -> int:
    """How many repeats with other seeds follow the trials."""
    return min(BEST, search.trials) * search.repeats


def leg_ends(search: Search) -> tuple[int, ...]:
    """The halving steps, and the last stop step; that alone where nothing stops trials early."""
    steps = halving_steps(search.stop_steps, search.reduction_factor) if search.scheduler == "asha" else ()
    return *steps, search.stop_steps[-1]


def leg_after(search: Search, end: int) -> int:
    """The end of the leg that follows the one that ends at ``end``."""
    return next(later for later in leg_ends(search) if later > end)


def legs(search: Search) -> tuple[tuple[int, ...], ...]:
    """The stop steps that every trial measures on each leg: its end; all of them where there is one leg only."""
    ends = leg_ends(search)
    return tuple((end,) for end in ends) if len(ends) > 1 else (search.stop_steps,)


def refining_from(search: Search) -> int:
    """The number of the first trial that is drawn close to the best: it is trained to the end whatever comes out.

    There is none where values are drawn at random, or are all choices.
    """
    refines = search.sampler == "tpe" and any(values.choices is None for values in search.space.values())
    return search.trials - (search.trials // REFINING if refines else 0)


def first_leg(search: Search, number: int) -> int:
    """The stop step up to which trial ``number`` trains at first."""
    return search.stop_steps[-1] if number >= refining_from(search) else leg_ends(search)[0]


def stops_due(search: Search, trial: Trial) -> tuple[int, ...]:
    """The stop steps that ``trial`` measures if it goes on and on, ascending; what it has is left out.

    They are the ends of its legs and its own.  A trial that has been to the end is left with those that it passed by.
    """
    measured = {rung.stop_step for rung in trial.rungs}
    left = [stop for stop in search.stop_steps if stop not in measured]
    if search.stop_steps[-1] in measured:
        return tuple(left)
    furthest, start = max(measured, default=0), first_leg(search, trial.number)
    planned = {trial.stop_step, *(stop for leg in legs(search) for stop in leg if leg[-1] >= start)}
    return tuple(stop for stop in left if stop > furthest and stop in planned)


def not_seen_stable(search: Search, trial: Trial) -> tuple[int, ...]:
    """The stop steps at which ``trial`` has not been measured without a decay; the last has the best place for one."""
    seen = {measured.stop_step for measured in trial.stable}
    return tuple(stop for stop in search.stop_steps[:-1] if stop not in seen)


def passed_by(search: Search, trial: Trial, due: Sequence[int]) -> tuple[int, ...]:
    """The stop steps that ``trial`` does not measure on its way through those ``due``."""
    measured = {rung.stop_step for rung in trial.rungs}
    return tuple(stop for stop in search.stop_steps if stop < max(due, default=0) and stop not in measured.union(due))

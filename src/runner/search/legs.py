"""The legs of a trial: how far it trains before it is held against others, and which stop steps it measures there.

Which trials go on is ``rungs``'s; what that takes, ``space``'s.
"""

import itertools

from runner.config.search import Search
from runner.search.records import Trial
from runner.search.rungs import halving_steps

BEST = 2  # configurations of which every stop step is measured, and that are trained again with other seeds


def leg_ends(search: Search) -> tuple[int, ...]:
    """The halving steps, and the last stop step; that alone where nothing stops trials early."""
    steps = halving_steps(search.stop_steps, search.reduction_factor) if search.scheduler == "asha" else ()
    return *steps, search.stop_steps[-1]


def leg_after(search: Search, end: int) -> int:
    """The end of the leg that follows the one that ends at ``end``."""
    return next(later for later in leg_ends(search) if later > end)


def legs(search: Search) -> tuple[tuple[int, ...], ...]:
    """The stop steps that every trial measures on each leg: its end, and on the last all that lie on it."""
    *holding, _ = leg_ends(search)
    last = tuple(stop for stop in search.stop_steps if stop > max(holding, default=0))
    return *((end,) for end in holding), last


def stops_due(search: Search, trial: Trial) -> tuple[int, ...]:
    """The stop steps that ``trial`` measures if it goes on and on, ascending; what it has is left out.

    On the last leg they are all: those that get there are few and may be the answer.  Before it they are the ends of
    legs and the trial's own.  A trial that has been to the end is left with those that it passed by.
    """
    measured = {rung.stop_step for rung in trial.rungs}
    left = [stop for stop in search.stop_steps if stop not in measured]
    if search.stop_steps[-1] in measured:
        return tuple(left)
    furthest, planned = max(measured, default=0), {trial.stop_step, *itertools.chain(*legs(search))}
    return tuple(stop for stop in left if stop > furthest and stop in planned)

"""Which trials go on: successive halving whose rungs are stop steps, by the rule that lets trials wait.

A trial that does not go on is not lost: it waits, and may go on when more have been measured.  It is asynchronous
successive halving (arXiv:1810.05934) with a limit to how many go on, for trials get better as a search learns, and
without it nearly every one would be among the best of those before.  Training them is for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass


def halving_steps(stop_steps: Sequence[int], reduction_factor: int) -> tuple[int, ...]:
    """The stop steps at which trials are held back: each ``reduction_factor`` times after the one before.

    The last stop step is none of them, for there every trial ends; nor is one less than ``reduction_factor`` squared
    before it, unless it is the first: holding back there saves little, and a longer last leg sees more trials ended.
    """
    chosen: list[int] = []
    for stop in stop_steps[:-1]:
        late = stop * reduction_factor**2 > stop_steps[-1]
        if not chosen or (stop >= reduction_factor * chosen[-1] and not late):
            chosen.append(stop)
    return tuple(chosen)


def places(count: int, reduction_factor: int) -> int:
    """How many of ``count`` trials go on: one in ``reduction_factor``."""
    return count // reduction_factor


@dataclass(frozen=True)
class Standing:
    """A trial that has measured a halving step."""

    trial: int
    loss: float  # or what orders trials in its place
    has_gone_on: bool
    waits: bool  # it could go on


def next_to_go_on(there: Sequence[Standing], reduction_factor: int, *, closing: bool) -> int | None:
    """The best trial that waits, while fewer went on than may; None when none waits or there is no place.

    Those before it may have been worse: it is then among the best of the ``count`` all the same, for at most
    ``places - 1`` are better.  ``closing``, when none is to come any more, one that is better than all that went on
    needs no place.
    """
    waiting = [each for each in there if each.waits]
    if not waiting:
        return None
    best, gone_on = min(waiting, key=_order), [each for each in there if each.has_gone_on]
    has_place = len(gone_on) < places(len(there), reduction_factor)
    return best.trial if has_place or (closing and all(_order(best) < _order(each) for each in gone_on)) else None


def _order(standing: Standing) -> tuple[float, int]:
    return standing.loss, standing.trial


def why_waits(there: Sequence[Standing], trial: int, stop_step: int, reduction_factor: int) -> str:
    """Why ``trial`` does not go on from ``stop_step`` now."""
    mine = next(each.loss for each in there if each.trial == trial)
    better = sum(each.loss < mine for each in there)
    may = places(len(there), reduction_factor)
    return f"of {len(there)} at step {stop_step:,} {may} may go on so far, and {better} were better"

"""The states of trials that may go on, in the memory of the process that trained them, so that their trunks are kept.

A trial whose state is not here begins from step 0; it gives the same losses and takes longer.  What a state is, is
``trunk``'s.
"""

from typing import Protocol

ROOM = 4 * 2**30  # bytes


class AnyParked(Protocol):
    """What is needed of ``runner.search.points.Parked``."""

    @property
    def nbytes(self) -> int: ...

    def tip(self) -> "AnyParked": ...


class Waiting:
    """States by trial, in ``room`` bytes; where they are too many the first to come go."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._parked: dict[int, AnyParked] = {}

    def keep(self, trial: int, parked: AnyParked) -> None:
        """Keep the state of ``trial``, if there is room for it."""
        self._parked.pop(trial, None)
        self._parked[trial] = parked
        while sum(each.nbytes for each in self._parked.values()) > self._room:
            del self._parked[next(iter(self._parked))]

    def cut_all_but(self, best: int | None) -> None:
        """Keep the tips alone of all but the ``best``, which at last measures the stop steps that it has passed by."""
        self._parked = {trial: parked if trial == best else parked.tip() for trial, parked in self._parked.items()}

    def take(self, trial: int) -> AnyParked | None:
        """The state of ``trial``, no longer kept; None if it is not here."""
        return self._parked.pop(trial, None)

"""The states of trials that wait, in the memory of the process that trained them, so that their trunks are kept.

A trial whose state is not here begins from step 0; it gives the same losses and takes longer.  What a state is, is
``trunk``'s.
"""

from typing import Protocol

ROOM = 4 * 2**30  # bytes


class AnyParked(Protocol):
    """What is needed of ``runner.search.trunk.Parked``."""

    @property
    def stop_step(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


class Waiting:
    """States by trial, in ``room`` bytes; where they are too many the first to come go."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._parked: dict[int, AnyParked] = {}

    def keep(self, trial: int, parked: AnyParked) -> None:
        """Keep the state in which ``trial`` waits, if there is room for it."""
        self._parked.pop(trial, None)
        self._parked[trial] = parked
        while sum(each.nbytes for each in self._parked.values()) > self._room:
            del self._parked[next(iter(self._parked))]

    def take(self, trial: int, *, before: int) -> AnyParked | None:
        """The state of ``trial``, no longer kept; None if it is not here, or not ``before`` that stop step."""
        parked = self._parked.pop(trial, None)
        return parked if parked is not None and parked.stop_step < before else None

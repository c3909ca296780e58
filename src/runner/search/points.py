"""What a trial can be put back to: copies of everything that training changes, on the device and on the host.

When they are taken is ``trunk``'s, which of them are kept from task to task, ``waiting``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Snapshot:
    """Room on the device for one copy of everything that training changes."""

    def __init__(self, live: Sequence[Tensor]) -> None:
        self._live = tuple(live)
        self._kept = tuple(torch.empty_like(tensor) for tensor in live)

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return sum(tensor.nbytes for tensor in self._kept)

    @torch.no_grad()
    def take(self) -> None:
        """Copy what is now."""
        for kept, live in zip(self._kept, self._live, strict=True):
            kept.copy_(live)

    @torch.no_grad()
    def put_back(self) -> None:
        """Let it be again what it was."""
        for kept, live in zip(self._kept, self._live, strict=True):
            live.copy_(kept)

    def on_host(self) -> tuple[Tensor, ...]:
        """The copy, in memory of its own on the host."""
        return tuple(kept.to("cpu", copy=True) for kept in self._kept)

    @torch.no_grad()
    def fill(self, tensors: Sequence[Tensor]) -> None:
        """Let the copy be what ``on_host`` gave."""
        for kept, tensor in zip(self._kept, tensors, strict=True):
            kept.copy_(tensor)


@dataclass(frozen=True)
class Point:
    """A step of a trunk to which training can be put back, on the host; 12 bytes a weight of the adapters."""

    step: int
    non_finite: int
    state: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return sum(tensor.nbytes for tensor in self.state)


@dataclass(frozen=True)
class Parked:
    """A trial that others have taken the place of: points of its trunk, ascending."""

    points: tuple[Point, ...]

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return sum(point.nbytes for point in self.points)

    def tip(self) -> "Parked":
        """The last point alone, which is all that a trial needs to go on."""
        return Parked(self.points[-1:])

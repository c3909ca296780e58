"""A request to stop, looked for in the midst of a measurement.

A measurement cut short leaves nothing: it is made again when the run goes on.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from runner.train.readback import Readback
from runner.train.world import World

Item = TypeVar("Item")


class CutShort(Exception):
    """The run was asked to stop before a measurement had ended."""


def unless_stopped(items: Iterable[Item], world: World, asked: Callable[[], bool]) -> Iterator[Item]:
    """``items``, and ``CutShort`` in place of the next one when any rank was asked to stop.

    All ranks take as many items and end at the same one.  Of several the answer is read an item late, so that no
    device waits for it.
    """
    before: Readback | None = None
    for item in items:
        if world.size == 1:
            stop = asked()
        else:
            flag = torch.zeros(1, device=world.device).fill_(float(asked()))  # made there: a copy would wait for it
            told = Readback(world.sum(flag))
            stop, before = before is not None and before.values()[0] > 0, told
        if stop:
            raise CutShort
        yield item

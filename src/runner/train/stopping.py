"""The passes of a measurement: every rank makes as many, and where one must leave them all leave together.

A measurement that was left leaves nothing: it is made again, at once in smaller passes or when the run goes on.
"""

from collections.abc import Callable

import torch

from runner.train.memory import is_out_of_memory
from runner.train.readback import Readback
from runner.train.world import World


class CutShort(Exception):
    """The run was asked to stop before a measurement had ended."""


def make_together(
    passes: int, make: Callable[[], None], world: World, asked: Callable[[], bool], *, apart: bool
) -> None:
    """Call ``make`` on every rank ``passes`` times; all leave before the same one, or none.

    Raises ``CutShort`` when ``asked`` says on any rank that the run should stop, and ``torch.OutOfMemoryError`` when
    a pass of any rank finds no memory; that rank makes no more passes, but goes on with the others until all have
    heard.  Of several the answers are read a pass late, so that no device waits for them.  Passes that are not
    ``apart`` need all ranks: there an error is raised at once, where it is.
    """
    if world.size == 1:
        _make_alone(passes, make, asked)
        return
    shortage: str | None = None
    before: Readback | None = None
    for _ in range(passes):
        told = _told(world, asked=asked(), short=shortage is not None)
        if before is not None:
            _leave(before, shortage)
        before = told
        if not apart:
            make()
        elif shortage is None:
            shortage = _shortage_of(make)
    _leave(_told(world, asked=False, short=shortage is not None), shortage)


def _make_alone(passes: int, make: Callable[[], None], asked: Callable[[], bool]) -> None:
    for _ in range(passes):
        if asked():
            raise CutShort
        make()


def _shortage_of(make: Callable[[], None]) -> str | None:
    """What a pass says of the memory that it did not find; None when it is made."""
    try:
        make()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return str(error)
    return None


def _told(world: World, *, asked: bool, short: bool) -> Readback:
    """How many ranks were asked to stop, and how many have no memory."""
    flags = torch.zeros(2, device=world.device)
    flags[0].fill_(float(asked))  # filled there: a copy would wait for the device
    flags[1].fill_(float(short))
    return Readback(world.sum(flags))


def _leave(told: Readback, shortage: str | None) -> None:
    asked, short = told.values()
    if asked > 0:
        raise CutShort
    if short > 0:
        raise torch.OutOfMemoryError(shortage or "on another worker")

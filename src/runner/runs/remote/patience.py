"""Trying again while a store does not answer, with longer and longer pauses, and an end."""

import time
from collections.abc import Callable
from typing import TypeVar

from runner.errors import DoesNotFit
from runner.runs.remote.faults import StorageFault

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

Answer = TypeVar("Answer")


def patiently(act: Callable[[], Answer], *, give_up_s: float, kept_in: str) -> Answer:
    """What ``act`` returns; tried again after a ``StorageFault``, ``DoesNotFit`` after ``give_up_s`` seconds of them.

    Credentials that are refused are tried again too: many are renewed by others.
    """
    began, pause = time.monotonic(), FIRST_PAUSE_S
    while True:
        try:
            return act()
        except StorageFault as fault:
            if time.monotonic() - began + pause > give_up_s:
                raise given_up(fault, time.monotonic() - began, kept_in) from fault
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def given_up(fault: StorageFault, seconds: float, kept_in: str) -> DoesNotFit:
    """The end of a run whose storage takes nothing any more; nothing is lost on this machine."""
    return DoesNotFit(
        f"the storage has taken nothing for {seconds:.0f} s: {fault.what}",
        f"{fault.where}, everything is kept in {kept_in}",
        "mend it and run the same command on this machine to go on; what was not sent is sent then",
    )

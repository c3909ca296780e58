"""Ray's servers on this machine and SIGTERM: they do not hear it, and end when Ray itself asks them to.

``timeout``, systemd and Slurm send it to all processes of a command.  Ray's servers would end by it before the run,
which they serve, has been saved.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOK_S = 0.05


@contextmanager
def sigterm_kept_from_children() -> Iterator[None]:
    """Within the block SIGTERM waits for its end; processes that are started there, and theirs, never hear it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def servers_end_when_asked() -> Iterator[None]:
    """Within the block each of Ray's servers that this process has started ends as soon as Ray asks it to.

    Ray asks by the SIGTERM that they do not hear, and would wait a second for each.
    """
    over = threading.Event()
    threading.Thread(target=_end_those_asked, args=(over,), name="end-of-ray", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _end_those_asked(over: threading.Event) -> None:
    """Until it is ``over``; those that had a SIGTERM before are left to Ray, for nothing tells when it asks them."""
    waiting = [pid for pid in _servers() if not _is_asked_to_end(pid)]
    while waiting and not over.wait(LOOK_S):
        asked = [pid for pid in waiting if _is_asked_to_end(pid)]
        waiting = [pid for pid in waiting if pid not in asked]
        for pid in asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_asked_to_end(pid: int) -> bool:
    """Whether a SIGTERM waits to be heard by the process ``pid``."""
    with suppress(OSError):
        for line in Path("/proc", str(pid), "status").read_text().splitlines():
            if line.startswith("ShdPnd:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def _servers() -> list[int]:
    """The children of this process whose command line names a file of Ray's package."""
    import ray

    package, found = str(Path(ray.__file__).parent) + os.sep, []
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended
            for pid in children.read_text().split():
                with suppress(OSError):
                    if package in Path("/proc", pid, "cmdline").read_text():
                        found.append(int(pid))
    return found

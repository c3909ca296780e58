"""One process at a time works on a run: a file lock and the record of who holds it.

Which of a run's starts may publish is in ``attempt``; what to do with the run once locked is in ``opening``.
"""

import fcntl
import json
import os
import socket
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from runner.errors import UserError

PATIENCE_S = 0.5


@dataclass(frozen=True)
class Holder:
    """The process that holds a run: host, process id, and since when (ISO 8601, UTC)."""

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class RunInUse(UserError):
    """Another process works on the run; the message says which, since when."""


class RunLock:
    """Exclusive use of a run, from construction to ``release``; the kernel frees it when the process dies, even by -9.

    ``RunInUse`` that names the holder if another process has it, ``OSError`` if it cannot be written.  A process
    forked from the holder does not keep the run locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        if not _lock_soon(self._descriptor):
            holder = read_holder(path)
            os.close(self._descriptor)
            self._descriptor = None
            raise RunInUse(
                f"the run {path.parent.name} is in use by {holder or 'a process that has not said who it is'}",
                str(path.parent),
                "wait until it ends, stop it, or start under another name with --name",
            )
        try:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self._write_holder(Holder(socket.gethostname(), os.getpid(), since))
        except OSError:
            self._close()
            raise
        _HELD.add(self)

    def release(self) -> None:
        """Let the next process in; safe to call twice."""
        if self._descriptor is None:
            return
        os.ftruncate(self._descriptor, 0)
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also for a child just forked that has not closed its copy yet
        self._close()

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _write_holder(self, holder: Holder) -> None:
        assert self._descriptor is not None
        record = {"host": holder.host, "pid": holder.pid, "since": holder.since}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(record).encode(), 0)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_HELD: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked child shares the lock's file description: close its copy, or the lock outlives the holder."""
    for lock in list(_HELD):
        lock._close()


os.register_at_fork(after_in_child=_forget_in_child)


def read_holder(path: Path) -> Holder | None:
    """Who holds the lock at ``path``, as its record says; None if there is no whole record."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(path.read_text())
        return Holder(str(record["host"]), int(record["pid"]), str(record["since"]))
    return None


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock at ``path``; asking neither takes it nor disturbs another asker."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_soon(descriptor: int) -> bool:
    """Take the lock, with patience for the instant in which ``is_held`` of another process holds it shared."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True

"""Which start of a run may write: a number that only grows, so that a dead start cannot publish.

Which process may start a run at all is the business of ``lock``.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from runner.errors import TrainingFailed
from runner.runs.durable import write_json
from runner.runs.folder import RunFolder

ATTEMPT_FILE = "attempt.json"
GUARD_FILE = ".attempt.lock"
GUARD_TIMEOUT_S = 30.0


class StaleAttempt(TrainingFailed):
    """A newer attempt of the run began; this one must write nothing more."""


@dataclass(frozen=True)
class Attempt:
    """One start of the training of a run: its number (from 1) and its identity."""

    root: Path
    number: int
    identity: str

    @classmethod
    def begin(cls, root: Path) -> "Attempt":
        """The next attempt of the run in ``root``; from its return on, no earlier one can publish.

        Safe when several processes call it at once: each gets a number of its own.  Where the record was
        spoilt numbers start again, and the identity alone keeps earlier attempts out.
        """
        with _guard(root):
            newest = _newest(root)
            attempt = cls(root, newest[0] + 1, uuid4().hex)
            write_json(root / ATTEMPT_FILE, {"attempt": attempt.number, "identity": attempt.identity})
        return attempt

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold off every ``begin`` while the body publishes; ``StaleAttempt`` if one came before."""
        with _guard(self.root):
            number, identity = _newest(self.root)
            if (number, identity) != (self.number, self.identity):
                raise StaleAttempt(
                    f"attempt {self.number} wanted to publish, but attempt {number} is the newest",
                    str(self.root),
                    "nothing to do: the newer attempt goes on, this process must end",
                )
            yield


def newest_attempt_at(root: Path) -> float | None:
    """When the newest attempt of the run in ``root`` began, seconds since the epoch; None before the first."""
    try:
        return (root / ATTEMPT_FILE).stat().st_mtime
    except FileNotFoundError:
        return None


def _newest(root: Path) -> tuple[int, str]:
    """Number and identity on record; (0, "") if there is none, or none that can be read: no attempt has that."""
    try:
        record = json.loads((root / ATTEMPT_FILE).read_text())
        return int(record["attempt"]), str(record["identity"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, ""


@contextmanager
def _guard(root: Path) -> Iterator[None]:
    """Mutual exclusion over the attempt record; held for milliseconds, so a long wait is an error."""
    descriptor = os.open(RunFolder(root).inside(GUARD_FILE), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + GUARD_TIMEOUT_S
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise TrainingFailed(
                    f"another process has held the attempt record for {GUARD_TIMEOUT_S:.0f} s",
                    str(root / GUARD_FILE),
                    "end the worker of the earlier attempt that hangs",
                )
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

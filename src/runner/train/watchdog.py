"""Ends this process when a training step takes far too long: a hung kernel, a lost peer, a process that was stopped.

None of them can end itself, so the watching is done by a small process of its own (``watcher``), which lives as long as
this one.  Starting again is Ray's, and going on from the last checkpoint is ``loop``'s.
"""

import contextlib
import faulthandler
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from runner.runs import RunFolder

LEAST_S = 60.0
TIMES = 5.0  # as long as the median of the steps before, or the longest rest
RESTS = 10.0  # times as long as a step, a rest may take at least
KNOWN = 3  # steps before there is a limit: the first compile, record and fill caches
REMEMBERED = 20


def stacks_file(folder: RunFolder, rank: int) -> Path:
    """Where the stacks of a ``rank`` that was ended are, the newest last."""
    return folder.inside(f"hang-rank-{rank}.log")


def report_file(folder: RunFolder, rank: int) -> Path:
    """What the watcher of ``rank`` writes before it ends it."""
    return folder.inside(f"hang-rank-{rank}.json")


def limit_s(seconds: Sequence[float], *, least_s: float = LEAST_S) -> float:
    """How long a step may take after those that took ``seconds``; 0 where too few are known for a limit."""
    return max(least_s, TIMES * statistics.median(seconds)) if len(seconds) >= KNOWN else 0.0


class Watchdog:
    """Told of every step of one rank of the run in ``folder``; what it ended leaves its stacks and a report there."""

    def __init__(self, folder: RunFolder, rank: int, *, least_s: float | None = None) -> None:
        self._least_s = LEAST_S if least_s is None else least_s
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._since: float | None = None  # when the step began that is running
        self._resting: float | None = None  # when the rest began that is on
        self._longest_rest = 0.0
        self._stacks_file = stacks_file(folder, rank)
        self._stacks = self._stacks_file.open("a")  # what an earlier start left is what its message speaks of
        faulthandler.register(signal.SIGUSR2, file=self._stacks, all_threads=True)
        program = Path(__file__).with_name("watcher.py")
        files = [str(report_file(folder, rank)), str(self._stacks_file)]
        command = [sys.executable, "-I", "-S", str(program), str(os.getpid()), *files]
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self._watcher.stdin is not None
        os.set_blocking(self._watcher.stdin.fileno(), False)

    def step(self) -> None:
        """A step begins, and the one before it has ended; it may take so long at most until the next call here."""
        now = time.monotonic()
        if self._since is not None:
            self._seconds.append(now - self._since)
        if self._resting is not None:
            self._longest_rest = max(self._longest_rest, now - self._resting)
        self._since, self._resting = now, None
        self._allow(limit_s(self._seconds, least_s=self._least_s))

    def rest(self) -> None:
        """What comes now is no step: the first may take any time, later ones not far more than those before."""
        self._since, self._resting = None, time.monotonic()
        self._allow(max(RESTS * self._least_s, TIMES * self._longest_rest) if self._longest_rest else 0.0)

    def close(self) -> None:
        """Watch no more."""
        assert self._watcher.stdin is not None
        with contextlib.suppress(OSError):
            self._watcher.stdin.close()
        self._watcher.wait()
        faulthandler.unregister(signal.SIGUSR2)
        self._stacks.close()
        if not self._stacks_file.stat().st_size:
            self._stacks_file.unlink()

    def _allow(self, seconds: float) -> None:
        """Seconds until the next word from here; 0: as long as it takes."""
        assert self._watcher.stdin is not None
        with contextlib.suppress(OSError):  # a watcher that is gone or not listening is no reason to fail
            os.write(self._watcher.stdin.fileno(), f"{seconds:.3f}\n".encode())


def last_hang(folder: RunFolder) -> str | None:
    """What watchdogs of an earlier start of the run in ``folder`` ended, in words; told once."""
    told = None
    for report in sorted(folder.root.glob("hang-rank-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(report.read_text())
            left = f"its stacks are in {report.stem}.log" if found["stacks"] else "it was stopped and left no stacks"
            told = f"a step took more than {float(found['waited_s']):g} s and was ended; {left}"
        report.unlink(missing_ok=True)
    return told

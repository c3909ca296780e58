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
from pathlib import Path

LEAST_S = 60.0
TIMES = 5.0  # as long as the median of the steps before, or the longest rest
RESTS = 10.0  # times as long as a step, a rest may take at least
KNOWN = 3  # steps before there is a limit: the first compile, record and fill caches
REMEMBERED = 20


def stacks_file(folder: Path, rank: int) -> Path:
    """Where the stacks of a ``rank`` that was ended are."""
    return folder / f"hang-rank-{rank}.log"


def report_file(folder: Path, rank: int) -> Path:
    """What the watcher of ``rank`` writes before it ends it."""
    return folder / f"hang-rank-{rank}.json"


class Watchdog:
    """Told of every step of one rank of the run in ``folder``; what it ended leaves its stacks and a report there."""

    def __init__(self, folder: Path, rank: int, *, least_s: float | None = None) -> None:
        self._least_s = LEAST_S if least_s is None else least_s
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._since: float | None = None  # when the step began that is running
        self._resting: float | None = None  # when the rest began that is on
        self._longest_rest = 0.0
        self._stacks_file = stacks_file(folder, rank)
        self._stacks = self._stacks_file.open("w")
        faulthandler.register(signal.SIGUSR2, file=self._stacks, all_threads=True)
        program = Path(__file__).with_name("watcher.py")
        command = [sys.executable, "-I", "-S", str(program), str(os.getpid()), str(report_file(folder, rank))]
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
        if len(self._seconds) < KNOWN:
            self._allow(0.0)
        else:
            self._allow(max(self._least_s, TIMES * statistics.median(self._seconds)))

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


def last_hang(folder: Path) -> str | None:
    """What watchdogs of an earlier start of the run in ``folder`` ended, in words; told once."""
    told = None
    for report in sorted(folder.glob("hang-rank-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            waited_s = float(json.loads(report.read_text())["waited_s"])
            told = f"a step took more than {waited_s:g} s and was ended; its stacks are in {report.stem}.log"
        report.unlink(missing_ok=True)
    return told

"""The process beside a worker that ends it: ``python -I -S watcher.py PID REPORT STACKS``.

Standard input has a line of seconds whenever the worker is well: how long it may be silent then, 0 for any time.
It imports nothing of this program, so that it starts at once and takes little memory.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

STACKS_S = 2.0  # for the stacks to be written before the end


def watch(pid: int, report: Path, stacks: Path) -> None:
    """Until standard input ends, as it does with the worker, or the worker is silent for too long."""
    allowed = 0.0
    while True:
        ready, _, _ = select.select([0], [], [], allowed or None)
        if not ready:
            end(pid, report, stacks, allowed)
            return
        told = os.read(0, 65536)
        if not told:
            return
        allowed = float(told.split()[-1])


def end(pid: int, report: Path, stacks: Path, waited_s: float) -> None:
    """Ask for the stacks, write the report and kill the worker, stopped or not."""
    before = size(stacks)
    try:
        os.kill(pid, signal.SIGUSR2)
        time.sleep(STACKS_S)
        with contextlib.suppress(OSError):  # a report that finds no room is no reason to let the worker be
            write(report, {"waited_s": waited_s, "at": time.time(), "stacks": size(stacks) > before})
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def size(path: Path) -> int:
    """In bytes; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def write(report: Path, found: dict[str, float]) -> None:
    """Let ``report`` be ``found``, whole or not at all; nothing is written through a link."""
    half = Path(f"{report}.tmp")
    half.unlink(missing_ok=True)
    with half.open("x") as file:
        file.write(json.dumps(found))
    half.replace(report)


if __name__ == "__main__":
    watch(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

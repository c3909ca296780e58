"""The process beside a worker that ends it: ``python -I -S watcher.py PID REPORT``.

Standard input has a line of seconds whenever the worker is well: how long it may be silent then, 0 for any time.
It imports nothing of this program, so that it starts at once and takes little memory.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

STACKS_S = 2.0  # for the stacks to be written before the end


def watch(pid: int, report: str) -> None:
    """Until standard input ends, as it does with the worker, or the worker is silent for too long."""
    allowed = 0.0
    while True:
        ready, _, _ = select.select([0], [], [], allowed or None)
        if not ready:
            end(pid, report, allowed)
            return
        told = os.read(0, 65536)
        if not told:
            return
        allowed = float(told.split()[-1])


def end(pid: int, report: str, waited_s: float) -> None:
    """Ask for the stacks, write the report and kill the worker, stopped or not."""
    half = Path(f"{report}.tmp")
    half.write_text(json.dumps({"waited_s": waited_s, "at": time.time()}))
    half.replace(report)
    try:
        os.kill(pid, signal.SIGUSR2)
        time.sleep(STACKS_S)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2])

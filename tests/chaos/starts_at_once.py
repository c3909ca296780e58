"""Processes that open one run at the same moment, forked from one that has all imported.

``python starts_at_once.py FOLDER ROUNDS PROCESSES`` prints a verdict in JSON.  Every second round contends for the run
that the round before left behind when its holder was killed.
"""

import json
import os
import re
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from runner.errors import UserError
from runner.runs import JobRecord, open_run

JOB = JobRecord({"name": "demo"}, "a hash")
SAYS_WHO = re.compile(r"the run demo is in use by process (\d+) on \S+ since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00; ")
TIMEOUT_S = 20.0


@dataclass
class Verdict:
    """What all rounds came to."""

    rounds: int = 0
    processes: int = 0  # in each round
    one_proceeded: int = 0  # rounds in which exactly one opened the run
    refused: int = 0  # processes that were told no, in all rounds
    told_who: int = 0  # of them, those that named the process that holds the run, and since when
    new: int = 0  # rounds whose run was new; the other rounds' had been left by a killed process
    slowest_s: float = 0.0  # from the signal to start until the last one knew


def contender(storage: Path, go: int, says: int, until: int) -> None:
    """Wait for ``go`` to close, open the run, say how that went, and hold the run until ``until`` closes."""
    os.read(go, 1)
    try:
        run = open_run(storage, "demo", job=JOB, resume="auto")
        line = f"{os.getpid()} opened {run.status}"
    except UserError as error:
        line = f"{os.getpid()} refused {error}"
    os.write(says, f"{line}\n".encode())
    os.read(until, 1)


def forked(storage: Path, processes: int) -> tuple[list[int], list[str], float]:
    """The children, what each of them said, and how long the last took to say it; whoever holds the run still does."""
    go, start = os.pipe()
    hearing, says = os.pipe()
    until, end = os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            os.close(start)
            os.close(end)
            try:
                contender(storage, go, says, until)
            finally:
                os._exit(0)
        children.append(child)
    for theirs in (go, says, until):
        os.close(theirs)
    began = time.monotonic()
    os.close(start)
    lines = heard(hearing, processes)
    seconds = time.monotonic() - began
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(hearing)
    os.close(end)
    return children, lines, seconds


def heard(pipe: int, count: int) -> list[str]:
    """``count`` lines from ``pipe``, or as many as came in time."""
    text, deadline = b"", time.monotonic() + TIMEOUT_S
    while text.count(b"\n") < count and select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        text += os.read(pipe, 1 << 16)
    return text.decode().splitlines()


def main(root: Path, rounds: int, processes: int) -> None:
    verdict = Verdict(processes=processes)
    for number in range(rounds):
        left_behind = number % 2 == 1
        _, lines, seconds = forked(root / f"storage-{number // 2}", processes)
        opened = [line.split() for line in lines if " opened " in line]
        refused = [line for line in lines if " refused " in line]
        status = "resumed" if left_behind else "new"
        verdict.rounds += 1
        verdict.new += not left_behind
        verdict.one_proceeded += len(opened) == 1 and opened[0][2] == status and len(lines) == processes
        verdict.refused += len(refused)
        holders = {words[0] for words in opened}
        verdict.told_who += sum(said[1] in holders for line in refused if (said := SAYS_WHO.search(line)))
        verdict.slowest_s = max(verdict.slowest_s, round(seconds, 3))
    print(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

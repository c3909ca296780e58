"""What the sandbox costs beside a bare interpreter, and whether anything of a thousand programs is left running.

Run it with ``python -m runner.evaluation.sandbox.bench --help``.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner.data.questions import Test
from runner.evaluation.sandbox.judging import run_programs
from runner.evaluation.sandbox.programs import CallProgram
from runner.evaluation.sandbox.walls import ENVIRONMENT, MODULES, interpreter

BARE = ("-I", "-S", "-B", "-c")
ROUNDS = 5


def programs(count: int) -> list[CallProgram]:
    """Small functions, each another one: equal programs would run once."""
    return [
        CallProgram(f"def solve(n):\n    return n + {number}\n", (Test((1,), 1 + number),)) for number in range(count)
    ]


def in_sandbox(count: int, workers: int) -> None:
    """Run ``count`` programs, each of which must pass."""
    failed = [verdict for verdict in run_programs(programs(count), workers=workers) if not verdict.passed]
    if failed:
        raise SystemExit(f"{len(failed)} of {count} right programs failed: {failed[0]}")


def bare(count: int, workers: int) -> None:
    """The same functions called once by an interpreter each, with nothing around it."""
    python = str(interpreter())

    def call(program: CallProgram) -> None:
        code = program.code + f"\nassert solve(1) == {program.tests[0].expected!r}\n"
        subprocess.run([python, *BARE, code], check=True, env=dict(ENVIRONMENT), stdin=subprocess.DEVNULL)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(call, programs(count)))


def seconds_each(work: Callable[[int, int], None], count: int, workers: int) -> float:
    """Of one program, ``workers`` side by side, with what is prepared once for all."""
    start = time.perf_counter()
    work(count, workers)
    return (time.perf_counter() - start) * workers / count


def of_sandboxes() -> set[int]:
    """Processes of this machine that a sandbox started: each carries the name of its modules' folder."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if MODULES.encode() in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def left_over(before: set[int], *, patience_s: float = 5.0) -> int:
    """How many processes of sandboxes that are not among ``before`` run now and do not end in ``patience_s``.

    Sandboxes of other programs come and go.
    """
    left, deadline = of_sandboxes() - before, time.monotonic() + patience_s
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left &= of_sandboxes()
    return len(left)


def main() -> None:
    """Print the two costs, in turns so that a busy machine weighs on both, and what is left."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m runner.evaluation.sandbox.bench")
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    chosen = parser.parse_args()
    before, count = of_sandboxes(), max(chosen.programs // ROUNDS, chosen.workers)
    walled, plain = [], []
    for _ in range(ROUNDS):
        plain.append(seconds_each(bare, count, chosen.workers))
        walled.append(seconds_each(in_sandbox, count, chosen.workers))
    ours, theirs = 1000 * statistics.median(walled), 1000 * statistics.median(plain)
    print(f"{ROUNDS} x {count} programs, {chosen.workers} at once, Python {sys.version.split()[0]}, median")
    print(f"in the sandbox {ours:.1f} ms a program, bare {theirs:.1f} ms, so {ours - theirs:.1f} ms more")
    print(f"{left_over(before)} processes left")


if __name__ == "__main__":
    main()

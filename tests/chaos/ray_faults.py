"""What the tests of faults through Ray Train share: a job of some seconds, its kills, and what a fault cost."""

import random
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from processes import ORPHAN_S, end, wait_for, workers_of
from typed_runs import losses, train, weights

STEPS = 60
LONGEST_S = 4.0  # from a new step to the next fault
WORKER = "TrainWorker"
PATIENCE_S = 1800.0  # some minutes on a machine that does nothing else


def started(storage: Path, home: Path, *options: str) -> "subprocess.Popen[str]":
    """`runner train` of the job."""
    return train(storage, home, "-o", f"train.steps={STEPS}", *options)


def reached(storage: Path) -> int:
    """The last step in the record."""
    return max(losses(storage / "demo"), default=0)


def await_new_step(storage: Path, process: "subprocess.Popen[str]", before: int) -> None:
    """Come back when a step after ``before`` has been trained."""
    wait_for(lambda: reached(storage) > before, process, timeout_s=PATIENCE_S)


def finish(process: "subprocess.Popen[str]") -> None:
    """Come back when the run has ended well."""
    end(process, 0, timeout_s=PATIENCE_S)


def pause(chooser: random.Random) -> None:
    """A random while in which steps are trained and saved."""
    time.sleep(chooser.uniform(0.0, LONGEST_S))


def kill_worker(process: "subprocess.Popen[str]") -> None:
    """``kill -9`` of the process that trains."""
    for worker in workers_of(process, WORKER):
        worker.kill()


def kill_all(process: "subprocess.Popen[str]") -> None:
    """``kill -9`` of the command and of everything under it, Ray included, as when the machine loses power."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=ORPHAN_S)
    assert not [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def same(storage: Path, whole: Path) -> bool:
    """Whether both runs have the same losses and final weights, to the bit."""
    one, other = storage / "demo", whole / "demo"
    return losses(one) == losses(other) and weights(one) == weights(other)


def spread(seconds: Sequence[float]) -> str:
    """Median and range in words."""
    if not seconds:
        return "none"
    return f"median {statistics.median(seconds):.1f} s, {min(seconds):.1f} to {max(seconds):.1f}"

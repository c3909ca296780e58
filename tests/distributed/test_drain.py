"""The look for a machine that is taken away: it is seen, and who trains is never held by it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.distributed.drain import Drain

WELL_S = 10.0


def soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WELL_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_drained_machine_is_seen_and_stays_so_and_others_are_not() -> None:
    drained = ["other"]
    here = Drain("here", lambda: drained, look_s=0.01)
    time.sleep(0.1)
    assert not here.announced()
    drained.append("here")
    assert soon(here.announced)
    drained.clear()
    time.sleep(0.1)
    assert here.announced()


def test_an_answer_that_never_comes_holds_no_one_and_a_refusal_is_asked_again() -> None:
    asked, released, calls = threading.Event(), threading.Event(), list[int]()

    def draining() -> list[str]:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("the server is away")
        asked.set()
        released.wait()
        return ["here"]

    here = Drain("here", draining, look_s=0.01)
    assert asked.wait(WELL_S)
    threading.Timer(3.0, released.set).start()  # an hour, for one who trains
    began = time.monotonic()
    assert not any(here.announced() for _ in range(1000))
    assert time.monotonic() - began < 1.0
    here.close()
    assert time.monotonic() - began < 1.0
    assert soon(here.announced)


def test_nothing_is_asked_once_it_is_closed() -> None:
    calls: list[int] = []

    def draining() -> list[str]:
        calls.append(1)
        return []

    here = Drain("here", draining, look_s=0.01)
    assert soon(lambda: bool(calls))
    here.close()
    time.sleep(0.1)
    before = len(calls)
    time.sleep(0.2)
    assert len(calls) == before


SILENT = """
import threading, time, psutil, ray
from runner.distributed import drain
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
answers = []
def draining():
    answers.append(None)
    found = known()
    answers[-1] = found
    return found
known = drain._draining_nodes
here = drain.Drain(ray.get_runtime_context().get_node_id(), draining, look_s=0.1)
while not answers or answers[0] is None:
    time.sleep(0.01)
(gcs,) = [each for each in psutil.Process().children(recursive=True) if "gcs_server" in each.name()]
gcs.suspend()
threading.Timer(6.0, gcs.resume).start()
time.sleep(1.0)
assert answers[-1] is None, "the server that is stopped has answered"
longest, before, ended = 0.0, time.monotonic(), time.monotonic() + 4.0
while before < ended:
    assert not here.announced()
    now = time.monotonic()
    longest, before = max(longest, now - before), now
waiting = time.monotonic() + 20.0
while answers[-1] is None and time.monotonic() < waiting:
    time.sleep(0.01)
assert answers[-1] is not None, "it was not asked again"
print("LONGEST", longest)
"""


@pytest.mark.slow
def test_a_server_that_is_stopped_holds_no_step(home: Path) -> None:
    """Neither the call nor the lock of the interpreter is held while Ray's server is silent."""
    environment = {**os.environ, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", SILENT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("LONGEST")[1]) < 1.0

"""`runner` in a process of its own, as a user types it: started, waited for, killed, ended."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

END_S, WAIT_S, ORPHAN_S = 400.0, 200.0, 30.0


def start(home: Path, *words: str, own_group: bool = False, **environment: str) -> "subprocess.Popen[str]":
    """``runner`` with ``words`` and a ``home`` that only tests use; in a process group of its own if asked."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HOME": str(home), **environment},
        start_new_session=own_group,
    )


def end(process: "subprocess.Popen[str]", code: int, *, timeout_s: float = END_S) -> str:
    """Everything that ``process`` said until it ended, with exit ``code``."""
    output, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == code, output
    return output


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", *, timeout_s: float = WAIT_S) -> None:
    """Come back when ``condition`` holds; ``process`` must still run then."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(process: "subprocess.Popen[str]", kind: str) -> list[psutil.Process]:
    """The processes under ``process`` whose command line names ``kind``; waited for, as Ray's bear it by the task."""
    found: list[psutil.Process] = []

    def looked() -> bool:
        for member in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if kind in " ".join(member.cmdline()):
                    found.append(member)
        return bool(found)

    wait_for(looked, process)
    return found


def kill_driver(process: "subprocess.Popen[str]", kind: str) -> None:
    """``kill -9`` of ``process`` alone; its workers of ``kind`` must end by themselves."""
    workers = workers_of(process, kind)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=ORPHAN_S)
    assert not alive, f"a {kind} outlived the driver"

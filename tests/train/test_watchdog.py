"""A worker that hangs or is stopped is ended, with its stacks; one that rests or ends is left alone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from runner.train.watchdog import last_hang, report_file, stacks_file

WORKER = """
import sys, time
from pathlib import Path
from runner.train.watchdog import Watchdog

def hangs_here():
    time.sleep(60)

watchdog = Watchdog(Path(sys.argv[1]), 0, least_s=0.5)
for _ in range(4):
    watchdog.step()
    time.sleep(0.02)
print("well", flush=True)
if sys.argv[2] == "hangs":
    hangs_here()
if sys.argv[2] == "rests":
    watchdog.rest()
    time.sleep(2.0)
if sys.argv[2] == "first":
    watchdog.close()
    watchdog = Watchdog(Path(sys.argv[1]), 0, least_s=0.5)
    watchdog.step()
    time.sleep(2.0)
watchdog.close()
print("end", flush=True)
"""


def begun(folder: Path, what: str) -> "subprocess.Popen[str]":
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(folder), what], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "well\n"
    return worker


def watchers(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or ())
    ]


def test_a_step_that_hangs_is_ended_and_leaves_its_stacks(tmp_path: Path) -> None:
    worker = begun(tmp_path, "hangs")
    assert worker.wait(timeout=20) == -signal.SIGKILL
    assert "hangs_here" in stacks_file(tmp_path, 0).read_text()
    assert last_hang(tmp_path) == "a step took more than 0.5 s and was ended; its stacks are in hang-rank-0.log"
    assert last_hang(tmp_path) is None, "told once"


def test_a_stopped_worker_is_ended(tmp_path: Path) -> None:
    worker = begun(tmp_path, "hangs")
    worker.send_signal(signal.SIGSTOP)
    assert worker.wait(timeout=20) == -signal.SIGKILL
    assert report_file(tmp_path, 0).is_file()


def test_a_worker_that_rests_or_does_its_first_steps_may_take_its_time(tmp_path: Path) -> None:
    for what in ("rests", "first"):
        worker = begun(tmp_path, what)
        assert worker.wait(timeout=20) == 0
    assert not report_file(tmp_path, 0).exists()
    assert not stacks_file(tmp_path, 0).exists()


def test_no_watcher_outlives_its_worker(tmp_path: Path) -> None:
    worker = begun(tmp_path, "hangs")
    assert watchers(tmp_path)
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 10
    while left := [process for process in watchers(tmp_path) if process.pid != worker.pid]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)

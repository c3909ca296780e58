"""Exactly one process holds a run, the others learn who, and death of any kind lets the next one in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.errors import UserError
from runner.runs import RunLock
from runner.runs.lock import is_held, read_holder

HOLD = """
import sys
from pathlib import Path
from runner.runs import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def hold_elsewhere(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_the_second_one_learns_who_holds_the_run_and_kill_9_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    child = hold_elsewhere(path)
    try:
        assert is_held(path)
        with pytest.raises(UserError, match=rf"in use by process {child.pid} on \S+ since 20\d\d-.*--name"):
            RunLock(path)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not is_held(path)
    with RunLock(path):
        holder = read_holder(path)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert read_holder(path) is None
    assert not is_held(path)


def test_of_five_that_start_at_once_one_proceeds(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run.lock")]
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(5)]
    while len(alive := [child for child in children if child.poll() is None]) > 1:
        time.sleep(0.02)
    told = [child.communicate(timeout=60) for child in children]
    assert len(alive) == 1
    assert sum(out == "held\n" for out, _ in told) == 1
    assert sum(f"in use by process {alive[0].pid}" in err for _, err in told) == 4


def test_asking_does_not_disturb_one_who_takes_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.touch()
    assert not is_held(path)
    RunLock(path).release()
    assert not is_held(tmp_path / "missing")


def test_a_forked_child_does_not_keep_the_run_locked(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run.lock")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        assert is_held(tmp_path / "run.lock")
        lock.release()
        lock.release()
        assert not is_held(tmp_path / "run.lock")
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "run.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        RunLock(tmp_path / "run.lock")

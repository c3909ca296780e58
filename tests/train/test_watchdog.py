"""A worker that hangs or is stopped is ended, with its stacks; one that rests or ends is left alone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from runner.errors import UserError
from runner.runs import RunFolder
from runner.train.watchdog import Watchdog, last_hang, limit_s, report_file, stacks_file
from runner.train.watcher import write

WORKER = """
import sys, time
from pathlib import Path
from runner.runs import RunFolder
from runner.train.watchdog import Watchdog

folder = RunFolder(Path(sys.argv[1]))

def hangs_here():
    time.sleep(60)

watchdog = Watchdog(folder, 0, least_s=0.5)
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
    watchdog = Watchdog(folder, 0, least_s=0.5)
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


def test_a_step_that_hangs_is_ended_and_its_stacks_stay_where_the_message_says(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for number in (1, 2):
        worker = begun(tmp_path, "hangs")
        assert worker.wait(timeout=20) == -signal.SIGKILL
        again = begun(tmp_path, "ends")  # what Ray starts in its place, which tells of the hang
        assert last_hang(folder) == "a step took more than 0.5 s and was ended; its stacks are in hang-rank-0.log"
        assert again.wait(timeout=20) == 0
        assert (tmp_path / "hang-rank-0.log").read_text().count("in hangs_here") == number
        assert last_hang(folder) is None, "told once"


def test_a_stopped_worker_is_ended_and_its_stacks_are_not_promised(tmp_path: Path) -> None:
    worker = begun(tmp_path, "hangs")
    worker.send_signal(signal.SIGSTOP)
    assert worker.wait(timeout=20) == -signal.SIGKILL
    assert begun(tmp_path, "ends").wait(timeout=20) == 0
    told = last_hang(RunFolder(tmp_path))
    assert told == "a step took more than 0.5 s and was ended; it was stopped and left no stacks"
    assert list(tmp_path.iterdir()) == []


def test_a_worker_whose_report_finds_no_place_is_ended_too(tmp_path: Path) -> None:
    (tmp_path / "hang-rank-0.json.tmp").mkdir()
    assert begun(tmp_path, "hangs").wait(timeout=20) == -signal.SIGKILL


@pytest.mark.parametrize("name", ["hang-rank-0.log", "hang-rank-0.json", "hang-rank-0.json.tmp"])
def test_nothing_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    folder, outside = RunFolder(tmp_path / "run"), tmp_path / "outside"
    folder.root.mkdir()
    outside.write_text("of others")
    (folder.root / name).symlink_to(outside)
    if name.endswith(".tmp"):
        write(report_file(folder, 0), {"waited_s": 1.0})
        assert json.loads(report_file(folder, 0).read_text()) == {"waited_s": 1.0}
    else:
        with pytest.raises(UserError, match="leads out of the run's folder"):
            Watchdog(folder, 0)
    assert outside.read_text() == "of others"


def test_a_step_may_take_five_times_the_median_and_a_minute_at_least() -> None:
    assert limit_s([12.0, 13.0]) == 0.0, "no limit while too little is known"
    assert limit_s([100.0, 1.0, 13.0]) == 65.0
    assert limit_s([12.0, 12.0, 12.0, 12.0]) == 60.0
    assert limit_s([12.0, 16.0, 20.0, 900.0]) == 90.0


def test_a_worker_that_rests_or_does_its_first_steps_may_take_its_time(tmp_path: Path) -> None:
    for what in ("rests", "first"):
        worker = begun(tmp_path, what)
        assert worker.wait(timeout=20) == 0
    assert not report_file(RunFolder(tmp_path), 0).exists()
    assert not stacks_file(RunFolder(tmp_path), 0).exists()


def test_no_watcher_outlives_its_worker(tmp_path: Path) -> None:
    worker = begun(tmp_path, "hangs")
    assert watchers(tmp_path)
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 10
    while left := [process for process in watchers(tmp_path) if process.pid != worker.pid]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)

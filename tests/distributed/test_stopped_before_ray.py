"""SIGTERM to `runner train` or `search` when its data were checked and Ray has not yet started: exit code 75."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from runner.distributed.signals import sigterm_stops
from runner.errors import Stopped

LIMIT_S = 120.0
STOPPED = """
import os, signal, sys, time
from importlib import import_module

def stopped(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5.0)
    raise AssertionError("went on")

module, name = sys.argv.pop(1).rsplit(".", 1)
import_module("runner.cli.ready").data_to_train_on = lambda job: None
setattr(import_module(module), name, stopped)
from runner.cli import main
main()
"""

STARTING = """
import os, signal, sys
from importlib import import_module
import ray

start = ray.init

def stopped(**words):
    os.kill(os.getpid(), signal.SIGTERM)
    start(**words)

ray.init = stopped
import_module("runner.cli.ready").data_to_train_on = lambda job: None
from runner.cli import main
main()
"""


@pytest.mark.parametrize(
    ("command", "during"),
    [
        ("train", "runner.distributed.launch.check_trackers"),
        ("train", "runner.distributed.launch.open_kept_run"),
        ("train", "runner.distributed.launch.ray_session"),
        ("search", "runner.search.driver.open_kept_search"),
        ("search", "runner.search.driver.ray_session"),
    ],
)
def test_one_stopped_while_it_is_opened_or_ray_imported_can_be_typed_again(
    command: str, during: str, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", STOPPED, during, command, "--storage", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 75, done.stderr
    assert done.stderr.splitlines()[-1:] == ["stopped before the first step; nothing had been trained; run it again"]


@pytest.mark.slow
def test_one_stopped_while_ray_starts_ends_it_and_is_not_aborted_by_it(tmp_path: Path, home: Path) -> None:
    words = [sys.executable, "-c", STARTING, "train", "--storage", str(tmp_path)]
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 75, done.stderr
    assert done.stderr.splitlines()[-1:] == ["stopped before the first step; Ray was starting; run it again"]


def test_a_stop_is_told_whatever_a_library_makes_of_it() -> None:
    def spoils_its_import() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:  # noqa: BLE001 - as code in C does, which clears any error
            raise ImportError("cannot load module more than once per process") from None

    with pytest.raises(Stopped), sigterm_stops():
        spoils_its_import()
    with pytest.raises(Stopped), sigterm_stops(), suppress(Exception):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyError), sigterm_stops():
        raise KeyError("nobody asked for a stop")

"""SIGTERM to `runner train` or `search` when its data were checked and Ray has not yet started: exit code 75."""

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 120.0
STOPPED = """
import os, signal, sys, time
from importlib import import_module

def stopped(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5.0)
    raise AssertionError("went on")

module, name = sys.argv.pop(1).rsplit(".", 1)
import_module(f"runner.cli.{sys.argv[1]}").data_to_train_on = lambda job: None
setattr(import_module(module), name, stopped)
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

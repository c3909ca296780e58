"""SIGTERM to `runner train` after its data were checked and before Ray has started: nothing is begun, exit code 75."""

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

import_module("runner.cli.train").data_to_train_on = lambda job: None
setattr(import_module("runner.distributed.launch"), sys.argv.pop(1), stopped)
from runner.cli import main
main()
"""


@pytest.mark.parametrize("during", ["check_trackers", "open_kept_run", "ray_session"])
def test_a_run_stopped_while_it_is_opened_or_ray_imported_can_be_typed_again(during: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, during, "train", "--storage", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 75, done.stderr
    assert done.stderr.splitlines()[-1:] == ["stopped before the first step; nothing had been trained; run it again"]

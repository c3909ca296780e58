"""`runner` with a Hugging Face cache on a small disk of its own, and hubs that see another program fill it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from disks import mounted


def run(hub_url: str, disk: Path, home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """``runner`` of a user whose Hugging Face cache lies on ``disk``."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub_url, "HF_HOME": str(disk / "hf"), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "runner", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def the_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The only line that is told, with exit 3."""
    assert done.returncode == 3, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.rstrip()


@contextmanager
def disk_of(folder: Path, mib: int) -> Iterator[Path]:
    with mounted(folder / "disk", f"size={mib}m") as disk:
        yield disk

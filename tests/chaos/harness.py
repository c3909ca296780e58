"""Harnesses of faults, each a program of its own that prints its verdict in JSON as its last line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def verdict(harness: str, *words: object) -> dict[str, Any]:
    """What the program ``harness`` of this folder found, called with ``words``, on one thread."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / harness), *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found

"""Harnesses of faults, each a program of its own that prints its verdict in JSON as its last line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SHARED = FOLDER.parent  # of modules that other tests use too


def _path_before() -> list[str]:
    return [path] if (path := os.environ.get("PYTHONPATH")) else []


def verdict(harness: str, *words: object) -> dict[str, Any]:
    """What the program ``harness`` of this folder found, called with ``words``, on one thread."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / harness), *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(SHARED), *_path_before()])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found

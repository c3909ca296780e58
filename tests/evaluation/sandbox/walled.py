"""Whether bubblewrap works here, the marks of the tests that need it, and Python as an ordinary user.

Attacks and cheats are in their own modules.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import runner
from runner.errors import UserError
from runner.evaluation.sandbox import sandbox_works
from runner.evaluation.sandbox.users import reachable

needs_sandbox = pytest.mark.skipif(sandbox_works() is not None, reason=f"no sandbox here: {sandbox_works()}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
with_and_without = pytest.mark.parametrize("walls", [pytest.param("bubblewrap", marks=needs_sandbox), "none"])

SYSTEM_PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
PACKAGES, SOURCE = Path(pytest.__file__).parents[1], Path(runner.__file__).parents[1]
ORDINARY = 64_123
needs_ordinary = pytest.mark.skipif(
    os.geteuid() != 0 or not SYSTEM_PYTHON.exists(), reason="no other user, or no Python that every user can reach"
)


def as_ordinary_user(code: str, asked: object, environment: dict[str, str]) -> object:
    """What ``code`` prints, as JSON, given ``asked`` as JSON; run by Python as a user with no rights."""
    with reachable([PACKAGES, SOURCE]) as folders, ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(folders.enter).result()
        except UserError as error:
            pytest.skip(str(error))
        paths = ":".join(str(there) for _, there in folders.pairs)
        running = thread.submit(
            _run, code, json.dumps(asked), {"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"} | environment
        )
        done = running.result()
    assert done.returncode == 0, done.stderr
    found: object = json.loads(done.stdout)
    return found


def _run(code: str, given: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SYSTEM_PYTHON, "-c", code],
        input=given,
        env=environment,
        user=ORDINARY,
        group=ORDINARY,
        extra_groups=[],
        capture_output=True,
        text=True,
        cwd="/",
    )


def processes() -> list[bytes]:
    """The command line and the environment of every process of this machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes() + (folder / "environ").read_bytes())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    assert found
    return found

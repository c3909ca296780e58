"""Whether bubblewrap works here, asked once, and the mark of the tests that need it.

Attacks and cheats are in their own modules.
"""

import functools
import os
from pathlib import Path

import pytest

from runner.errors import UserError
from runner.evaluation.sandbox import check_sandbox


@functools.cache
def why_not() -> str:
    """Empty when the sandbox works here."""
    try:
        check_sandbox()
    except UserError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.skipif(bool(why_not()), reason=f"no sandbox here: {why_not()}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def commands() -> list[bytes]:
    """The command line of every process of this machine."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes())
        except OSError:  # it ended meanwhile
            continue
    assert found
    return found

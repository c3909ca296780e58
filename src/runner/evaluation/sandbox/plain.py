"""No walls: a plain subprocess that gives up what it can by itself, in a folder of its own.

It stops accidents, not attacks: what its user may read or send, a program may.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.evaluation.sandbox.seccomp import filter_bytes, machine
from runner.evaluation.sandbox.users import Users, open_to_all, unused_users
from runner.evaluation.sandbox.walls import (
    ENVIRONMENT,
    GONE,
    PYTHON,
    Start,
    compiled_modules,
    interpreter,
    pidfd,
    sealed,
    start_code,
)


@dataclass(frozen=True)
class Plain:
    """The programs' modules, the system calls they are refused, and the users they become."""

    modules: Path
    seccomp: bytes
    users: Users
    name: str = "Python"
    remedy: str = "see whether the machine is out of memory or processes"

    def enter(self) -> None:
        """Nothing is to be prepared."""

    @contextlib.contextmanager
    def start(self, status: int, arguments: Sequence[str]) -> Iterator[Start]:
        """The program finds an empty folder, its own, that goes with it."""
        del status  # the program alone writes to it
        with self.users.one() as user, _scratch(user) as folder:
            seccomp, library = sealed(self.seccomp), self._library(user)
            rights = [str(number) for number in (GONE if user is None else user, library, seccomp)]
            start = start_code(self.modules, "unwalled.give_up", len(rights))
            command = [str(interpreter()), *PYTHON, start, *rights, *arguments]
            environment = {**ENVIRONMENT, "HOME": str(folder), "TMPDIR": str(folder)}
            descriptors = (seccomp, *([] if library == GONE else [library]))
            yield Start(command, environment, folder, descriptors)

    def first(self, told: bytes, process: subprocess.Popen[bytes]) -> int:
        """Of the started process itself."""
        del told
        return pidfd(process.pid, os.getpid())

    def kill(self, process: subprocess.Popen[bytes], first: int) -> None:
        """Its group.  It can make no process, so there is none that has left the group."""
        del first
        if process.returncode is None:  # not collected yet, so the number is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _library(self, user: int | None) -> int:
        """Python's folder as a descriptor, where another user could not get to it by its name."""
        prefix = Path(sys.base_prefix)
        return GONE if user is None or open_to_all(prefix) else os.open(prefix, os.O_PATH | os.O_DIRECTORY)


@contextlib.contextmanager
def plain(programs: int) -> Iterator[Plain]:
    """For at most ``programs`` at a time."""
    known = machine()
    with compiled_modules() as modules:
        yield Plain(modules, b"" if known is None else filter_bytes(known), unused_users(programs))


@contextlib.contextmanager
def _scratch(user: int | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sandbox-scratch-", dir="/tmp"))
    try:
        if user is not None:
            with contextlib.suppress(OSError):  # no such user in this namespace: the program stays who it is
                os.chown(folder, user, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Walls by bubblewrap: namespaces, hardly a file, refused system calls, no rights.

The limits a program sets itself before untrusted code runs are in ``inside``.
"""

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UserError
from runner.evaluation.sandbox.seccomp import filter_bytes, machine
from runner.evaluation.sandbox.users import Reachable, Users, reachable, unused_users
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

MODULES = Path("/code")
START = start_code(MODULES, "limits.bound_threads", 0)
END_S = 10.0  # for the kernel to take down a killed box
SCRATCH_BYTES = 1 << 24
FIXED_BYTES = 1 << 16  # for folders that hold mount points and nothing else
INSTALL = "install it (apt-get install bubblewrap, dnf install bubblewrap or pacman -S bubblewrap)"
UNSAFE = "or pass --unsafe-no-sandbox, which marks the results"
REMEDY = (
    "bubblewrap 0.8 or newer and user namespaces are needed (in a container: allow unshare; on Ubuntu 24.04: "
    f"sysctl kernel.apparmor_restrict_unprivileged_userns=0), {UNSAFE}"
)
ISOLATION = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv",
    "--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox",
    "--as-pid-1",  # bubblewrap waits for it, so its end is the end of all
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass(frozen=True)
class Bubblewrap:
    """Walls that hold."""

    program: str
    folders: Reachable
    seccomp: bytes
    users: Users
    name: str = "bubblewrap"
    remedy: str = REMEDY

    def enter(self) -> None:
        """The thread must outlive its programs: bubblewrap dies with the thread that started it."""
        self.folders.enter()

    @contextlib.contextmanager
    def start(self, status: int, arguments: Sequence[str]) -> Iterator[Start]:
        """Bubblewrap writes the number of its first process, and closes its descriptor: the program has another."""
        with self.users.one() as user:
            info, seccomp = os.dup(status), sealed(self.seccomp)
            yield Start(self._command(info, seccomp, arguments), {}, Path("/"), (info, seccomp), user)

    def first(self, told: bytes, process: subprocess.Popen[bytes]) -> int:
        """Of the first process of the namespace, with which all others go."""
        return pidfd(int(json.loads(told)["child-pid"]), process.pid)

    def kill(self, process: subprocess.Popen[bytes], first: int) -> None:
        """Kill the first process, so the kernel removes all of its namespace; bubblewrap then collects it and ends.

        If not, its whole group: its second process joins a session of its own only when it dies with the first.
        """
        if first != GONE:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(first, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _command(self, info: int, seccomp: int, arguments: Sequence[str]) -> list[str]:
        environment = {**ENVIRONMENT, "HOME": "/tmp"}
        return [
            self.program,
            *ISOLATION,
            *(word for name, value in environment.items() for word in ("--setenv", name, value)),
            *self._files(),
            *("--chdir", "/tmp", "--info-fd", str(info), "--seccomp", str(seccomp)),
            *("--", str(interpreter()), *PYTHON, START, *arguments),
        ]

    def _files(self) -> list[str]:
        """Nothing but /usr, the interpreter, the modules and four devices, read-only; one small /tmp; no /proc."""
        (_, prefix), (_, modules) = self.folders.pairs
        words = [*_tmpfs("/", FIXED_BYTES), "--ro-bind", "/usr", "/usr"]
        for link in ("/lib", "/lib64", "/bin"):
            path = Path(link)
            if path.is_symlink():
                words += ["--symlink", str(path.readlink()), link]
            elif path.is_dir():
                words += ["--ro-bind", link, link]
        if not Path(sys.base_prefix).is_relative_to("/usr"):
            words += ["--ro-bind", str(prefix), sys.base_prefix]
        words += ["--ro-bind", str(modules), str(MODULES), *_tmpfs("/dev", FIXED_BYTES)]
        for device in DEVICES:
            words += ["--dev-bind", device, device]
        return [*words, *_tmpfs("/tmp", SCRATCH_BYTES), "--remount-ro", "/dev", "--remount-ro", "/"]


@contextlib.contextmanager
def bubblewrap(programs: int) -> Iterator[Bubblewrap]:
    """Walls for at most ``programs`` at a time.  Raises ``UserError`` where bubblewrap is missing or cannot work."""
    program = shutil.which("bwrap")
    if program is None:
        raise UserError("bubblewrap (bwrap) is not installed", "looking for the sandbox", f"{INSTALL}, {UNSAFE}")
    known = machine()
    if known is None:
        raise UserError(
            f"this is {sys.platform} on {platform.machine()}",
            "building the sandbox",
            f"use Linux on x86_64 or aarch64, {UNSAFE}",
        )
    with compiled_modules() as modules, reachable([Path(sys.base_prefix), modules]) as folders:
        yield Bubblewrap(program, folders, filter_bytes(known), unused_users(programs))


def _tmpfs(place: str, size: int) -> list[str]:
    return ["--size", str(size), "--tmpfs", place]

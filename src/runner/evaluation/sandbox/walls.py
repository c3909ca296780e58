"""What stands around an untrusted program: the bubblewrap command, the folders it may read, the user it runs as.

Starting and ending the program is in ``box``; the limits it sets itself before untrusted code runs in ``inside``.
"""

import contextlib
import os
import platform
import py_compile
import queue
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UserError
from runner.evaluation.sandbox.seccomp import filter_bytes
from runner.evaluation.sandbox.users import Reachable, reachable, unused_users

INSIDE = Path(__file__).with_name("inside")
# a namespace package of the same name as outside, so that imports read alike
MODULES = Path("/code/runner/evaluation/sandbox/inside")
START = (
    "import sys; sys.path.append('/code'); "
    "from importlib import import_module as load; "
    "load('runner.evaluation.sandbox.inside.' + sys.argv[1]).main(*map(int, sys.argv[2:]))"
)
SCRATCH_BYTES = 1 << 24
FIXED_BYTES = 1 << 16  # for folders that hold mount points and nothing else
INSTALL = "install it (apt-get install bubblewrap, dnf install bubblewrap or pacman -S bubblewrap)"
UNSAFE = "or pass --unsafe-no-sandbox, which marks the results"
ISOLATION = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv",
    "--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox",
    "--as-pid-1",  # bubblewrap waits for it, so its end is the end of all
)  # fmt: skip
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/tmp"}
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass(frozen=True)
class Walls:
    """The same for all programs of one call; ``users`` holds the unused users not in use, none when not root."""

    bubblewrap: str
    interpreter: Path
    folders: Reachable
    seccomp: bytes
    users: "queue.SimpleQueue[int] | None"

    @contextlib.contextmanager
    def user(self) -> Iterator[int | None]:
        """A user that no other running program has, or None when there is no choice."""
        if self.users is None:
            yield None
            return
        user = self.users.get()
        try:
            yield user
        finally:
            self.users.put(user)

    def command(self, status: int, seccomp: int, arguments: Sequence[str]) -> list[str]:
        """The whole command line; ``status`` and ``seccomp`` are descriptors bubblewrap writes to and reads from."""
        environment = [word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)]
        return [
            self.bubblewrap,
            *ISOLATION,
            *environment,
            *self._files(),
            *("--chdir", "/tmp", "--info-fd", str(status), "--seccomp", str(seccomp)),
            *("--", str(self.interpreter), "-I", "-S", "-B", "-c", START, *arguments),
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
def built(boxes: int) -> Iterator[Walls]:
    """Walls for at most ``boxes`` at a time.  Raises ``UserError`` where bubblewrap is missing or cannot work."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise UserError("bubblewrap (bwrap) is not installed", "looking for the sandbox", f"{INSTALL}, {UNSAFE}")
    machine = platform.machine()
    if sys.platform != "linux" or (machine != "x86_64" and machine != "aarch64"):
        raise UserError(
            f"this is {sys.platform} on {machine}", "building the sandbox", f"use Linux on x86_64 or aarch64, {UNSAFE}"
        )
    users: queue.SimpleQueue[int] | None = None
    if os.geteuid() == 0:
        users = queue.SimpleQueue()
        for user in unused_users(boxes):
            users.put(user)
    with compiled_modules() as modules, reachable([Path(sys.base_prefix), modules]) as folders:
        yield Walls(bubblewrap, _interpreter(), folders, filter_bytes(machine), users)  # type: ignore[arg-type]  # checked above


@contextlib.contextmanager
def compiled_modules() -> Iterator[Path]:
    """A folder with the modules for the inside as bytecode: compiling them would take 10 ms of every start."""
    made = Path(tempfile.mkdtemp(prefix="sandbox-modules-", dir="/tmp"))  # every user can reach /tmp, not so any TMPDIR
    try:
        made.chmod(0o755)
        for module in INSIDE.glob("*.py"):
            target = made / f"{module.stem}.pyc"
            py_compile.compile(str(module), str(target), dfile=module.name, doraise=True)
            target.chmod(0o644)
        yield made
    finally:
        shutil.rmtree(made)


def _interpreter() -> Path:
    """The Python under this one's virtual environment, as the box sees it."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def _tmpfs(place: str, size: int) -> list[str]:
    return ["--size", str(size), "--tmpfs", place]

"""What stands around untrusted programs, as one interface, and what every kind of walls gives them to run on.

The kinds are in ``bubblewrap`` and ``plain``; starting, watching and ending a program is in ``box``.
"""

import contextlib
import fcntl
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

GONE = -1  # in place of a descriptor

INSIDE = Path(__file__).with_name("inside")
PACKAGE = Path("runner/evaluation/sandbox/inside")  # of the same name as outside, so that imports read alike
MODULES = "sandbox-modules-"  # how the folder begins that holds them, for one call
PYTHON = ("-I", "-S", "-B", "-c")
# glibc would set 64 MiB of address space aside for many a thread, and how many hangs on the cores that it sees
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True)
class Start:
    """How one program is started; ``descriptors`` are for it alone, and to be closed here once it has them."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    descriptors: tuple[int, ...]
    user: int | None = None  # None: as whoever starts it


class Walls(Protocol):
    """The same for all programs of one call."""

    @property
    def name(self) -> str:
        """What the user knows them by."""

    @property
    def remedy(self) -> str:
        """What lets programs start, if they do not."""

    def enter(self) -> None:
        """Prepare the thread that calls: it may start programs then."""

    def start(self, status: int, arguments: Sequence[str]) -> AbstractContextManager[Start]:
        """A start for one program, with what no other running program has; the block is to outlast the program.

        ``arguments`` are an ``inside`` module and the numbers it takes; ``status`` is the descriptor where the
        module writes that it runs.  What stands in the pipe before that is for ``first``.
        """

    def first(self, told: bytes, process: subprocess.Popen[bytes]) -> int:
        """A pidfd of the process with whose end the program is over, or ``GONE``."""

    def kill(self, process: subprocess.Popen[bytes], first: int) -> None:
        """End the started ``process`` and all that came of it."""


@contextlib.contextmanager
def compiled_modules() -> Iterator[Path]:
    """A folder with the modules for the inside as bytecode: compiling them would take 10 ms of every start."""
    made = Path(tempfile.mkdtemp(prefix=MODULES, dir="/tmp"))  # every user can reach /tmp, not so any TMPDIR
    try:
        (made / PACKAGE).mkdir(parents=True)
        for module in INSIDE.glob("*.py"):
            target = made / PACKAGE / f"{module.stem}.pyc"
            py_compile.compile(str(module), str(target), dfile=module.name, doraise=True)
            target.chmod(0o644)
        for folder in (made, *(made / parent for parent in (PACKAGE, *PACKAGE.parents))):
            folder.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made)


def interpreter() -> Path:
    """The Python under this one's virtual environment."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def start_code(modules: Path, preparation: str, prepared: int) -> str:
    """What Python starts with, given an ``inside`` function, how many numbers it takes, a module and its numbers."""
    module, _, function = preparation.partition(".")
    package = ".".join(PACKAGE.parts)
    return (
        f"import sys; sys.path.append({str(modules)!r}); "
        f"load = lambda name: __import__('{package}.' + name, fromlist=['main']); "
        f"load({module!r}).{function}(*map(int, sys.argv[1:{1 + prepared}])); "
        f"load(sys.argv[{1 + prepared}]).main(*map(int, sys.argv[{2 + prepared}:]))"
    )


def sealed(content: bytes) -> int:
    """A file in memory that holds ``content``, read from its start, that nobody can change."""
    descriptor = os.memfd_create("content", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(
        descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    )
    return descriptor


def pidfd(process: int, parent: int) -> int:
    """Of ``process``, or ``GONE`` when that number is no longer ``parent``'s child but nobody's, or a stranger's."""
    try:
        descriptor = os.pidfd_open(process)
    except OSError:  # it is gone, or the kernel has no such descriptors
        return GONE
    with contextlib.suppress(OSError):
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        if int(after_name[1]) == parent:
            return descriptor
    os.close(descriptor)
    return GONE

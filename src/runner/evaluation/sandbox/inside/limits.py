"""The beginning of every process in a box: say that it runs, take the request, lower the limits for good.

The walls (namespaces, read-only files, refused system calls) were built before, outside.
"""

from __future__ import annotations

import builtins
import marshal
import posix  # os, which is made of it, takes 2 ms of every start; so in the other modules
import resource
import sys

TYPE_CHECKING = False  # typing itself takes 3 ms of every start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MEMORY_BYTES = 1 << 30
FILE_BYTES = 1 << 24
OPEN_FILES = 64
THREADS = 64  # system calls that make processes are refused, so this bounds threads


def begin(status: int, request: int) -> Any:
    """The request, with the limits set that it asks for; standard streams are as the outside made them."""
    with open(request, "rb") as file:
        content = marshal.load(file)
    posix.write(status, b"started")
    posix.close(status)
    _limit(int(content["timeout_s"]) + 1)
    return content


def _limit(cpu_s: int) -> None:
    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))


def bound_threads() -> None:
    """To be called where no other process has the same user: they would count too."""
    resource.setrlimit(resource.RLIMIT_NPROC, (THREADS, THREADS))


def silence() -> int:
    """A descriptor for what the process has to say, with all three standard streams led to nowhere."""
    speaking = posix.dup(1)
    null = posix.open("/dev/null", posix.O_RDWR)
    for standard in (0, 1, 2):
        posix.dup2(null, standard)
    posix.close(null)
    return speaking


def load(code: str, name: str, given: Mapping[str, Any] | tuple[()] = ()) -> dict[str, Any]:
    """The names that ``code`` defines, run as the module ``name`` that has the ``given`` ones; errors go through."""
    module = type(sys)(name)
    module.__dict__.update(given)
    sys.modules[name] = module
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # programs use them; they come with site
    exec(compile(code, "<candidate>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def told(error: BaseException) -> tuple[str, str]:
    """The kind of failure and its text."""
    text = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, SyntaxError):
        return "syntax", text
    return ("memory" if isinstance(error, MemoryError) else "exception"), text

"""Runs untrusted programs one after another, each in a forked child with limits; a script, never imported.

Reads one JSON request from standard input, writes one JSON line a program to standard output.  What is right
is decided by the parent in ``execution``: no expected output ever comes here.

A child returns its outputs through a pipe.  Nothing it prints, no exit code and no file counts.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

# imported before the first fork, so that a child that may read no file has them
PRELOADED = (
    "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq",
    "itertools", "math", "operator", "random", "re", "statistics", "string", "typing",
)  # fmt: skip
MEMORY_BYTES = 1 << 30
OUTPUT_BYTES = 1 << 20
NOBODY = 65534
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    request = json.load(sys.stdin)
    for module in PRELOADED:
        importlib.import_module(module)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for program in request["programs"]:
        result = run(program["code"], program["arguments"], request["timeout_s"])
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def run(code: str, arguments: Sequence[Sequence[Any]], timeout_s: float) -> dict[str, str]:
    """``{"kind": "answered", "text": JSON}`` or the kind of failure; every process of the child is gone after it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _answer(code, arguments, writing, timeout_s)
        finally:
            os._exit(1)
    os.close(writing)
    text, ended = _read(reading, time.monotonic() + timeout_s)
    _end(child)
    if ended:
        return _verdict(text)
    if len(text) > OUTPUT_BYTES:
        return {"kind": "exception", "text": f"more than {OUTPUT_BYTES} bytes of outputs"}
    return {"kind": "timeout", "text": f"no answer in {timeout_s} s"}


def _verdict(text: bytes) -> dict[str, str]:
    kind, _, rest = text.decode("utf-8", errors="replace").partition("\n")
    if kind in ("answered", "syntax", "exception", "timeout"):
        return {"kind": kind, "text": rest}
    return {"kind": "exception", "text": "the program ended without an answer"}


def _read(reading: int, deadline: float) -> tuple[bytes, bool]:
    """What the child wrote, and whether it came to an end in time and size."""
    parts = b""
    try:
        while (left := deadline - time.monotonic()) > 0 and len(parts) <= OUTPUT_BYTES:
            if select.select([reading], [], [], left)[0]:
                part = os.read(reading, 1 << 16)
                if not part:
                    return parts, True
                parts += part
    finally:
        os.close(reading)
    return parts, False


def _end(child: int) -> None:
    """Kill the child's group, then whatever it left behind: orphans become children of this process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
    for _ in range(100):
        left = _children()
        if not left:
            return
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.002)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123
            return [int(process) for process in file.read().split()]
    except OSError:  # not Linux: the group is all there is to kill
        return []


def _answer(code: str, arguments: Sequence[Sequence[Any]], writing: int, timeout_s: float) -> None:
    """In the child: limits, then the program, then one message into the pipe."""
    os.setsid()
    _shut(writing)
    _limit(timeout_s)
    try:
        message = "answered\n" + json.dumps(_outputs(code, arguments))
    except SyntaxError as error:
        message = f"syntax\n{error}"
    except BaseException as error:  # the program is unknown: whatever it raises is its answer  # noqa: BLE001
        message = f"exception\n{type(error).__name__}: {error}"[:300]
    data = message.encode("utf-8", errors="replace")
    while data:
        data = data[os.write(writing, data) :]
    os._exit(0)


def _outputs(code: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
    namespace: dict[str, Any] = {"__name__": "__candidate__"}
    exec(compile(code, "<candidate>", "exec", dont_inherit=True), namespace)
    return [namespace["solve"](*argument) for argument in arguments]


def _shut(writing: int) -> None:
    """Leave the child nothing open but the pipe and the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, writing)
    os.closerange(writing + 1, 256)


def _limit(timeout_s: float) -> None:
    """CPU, memory, file size, open files and processes; no more rights, and no root where root can be dropped."""
    seconds = int(timeout_s) + 1
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_NPROC: 0,  # not even one more: a solution needs none, and root is not bound by it
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)


if __name__ == "__main__":
    main()

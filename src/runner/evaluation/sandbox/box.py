"""One untrusted process under bubblewrap: started, its output read up to a limit, everything of it killed.

What runs inside is in ``inside``; what an output is worth is decided by the callers.
"""

import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from runner.errors import UserError
from runner.evaluation.sandbox.walls import Walls

OUTPUT_BYTES = 1 << 24
ERROR_BYTES = 4096
START_S = 20.0  # for bubblewrap and Python to start, on a busy machine
END_S = 10.0  # for the kernel to take down a killed box
GONE = -1

HowItEnded: TypeAlias = Literal["ended", "timeout", "too much output"]


@dataclass(frozen=True)
class Order:
    """What one box is to run: an ``inside`` module, the request it gets, its standard streams, what else is open."""

    module: str
    request: bytes
    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.PIPE
    open_files: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ended:
    """What a box gave: ``errors`` is the tail of its standard error."""

    how: HowItEnded
    output: bytes
    errors: bytes
    exit_code: int


@dataclass(frozen=True)
class Box:
    """A running box; ``init`` is a pidfd of the first process of its namespace, with which all others go."""

    process: subprocess.Popen[bytes]
    init: int


@contextlib.contextmanager
def opened(walls: Walls, order: Order) -> Iterator[Box]:
    """A box that runs ``order``.  After the block no process of it is left.

    The thread must live as long as the box: bubblewrap dies with the thread that started it.
    Raises ``UserError`` when the box could not be set up.
    """
    with contextlib.ExitStack() as files, walls.user() as user:
        reading, writing = os.pipe()
        files.callback(os.close, reading)
        with contextlib.ExitStack() as until_started:
            # bubblewrap closes the descriptor it writes to; the module inside has one of its own
            own = (writing, os.dup(writing), sealed(walls.seccomp), sealed(order.request))
            for descriptor in own:
                until_started.callback(os.close, descriptor)
            process = _start(walls, order, user, own)
        init = GONE
        try:
            init = _started(reading, process)
            yield Box(process, init)
        finally:
            _end(process, init)


def run(walls: Walls, order: Order, timeout_s: float) -> Ended:
    """What ``order`` gave within ``timeout_s`` of its start."""
    with opened(walls, order) as box:
        how, output, errors = watch(box, timeout_s)
    return Ended(how, output, errors, box.process.returncode)


def watch(box: Box, timeout_s: float) -> tuple[HowItEnded, bytes, bytes]:
    """Standard output and the tail of standard error, until the box ends or exceeds the time or the size."""
    deadline = time.monotonic() + timeout_s
    output, errors = bytearray(), b""
    assert box.process.stdout is not None
    assert box.process.stderr is not None
    streams = {box.process.stdout.fileno(), box.process.stderr.fileno()}
    with selectors.DefaultSelector() as ready:
        for stream in (*streams, *([] if box.init == GONE else [box.init])):
            ready.register(stream, selectors.EVENT_READ)
        ended = False
        while streams and not ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout", bytes(output), errors
            found = {key.fd for key, _ in ready.select(left)}
            ended = found == {box.init}  # it is gone and its pipes, if still held open, are empty
            for stream in found & streams:
                part = os.read(stream, 1 << 16)
                if not part:
                    streams.remove(stream)
                    ready.unregister(stream)
                elif stream == box.process.stdout.fileno():
                    output += part
                else:
                    errors = (errors + part)[-ERROR_BYTES:]
            if len(output) > OUTPUT_BYTES:
                return "too much output", bytes(output), errors
    return _finished(box, deadline), bytes(output), errors


def _finished(box: Box, deadline: float) -> HowItEnded:
    """A program may close its streams and run on: its time is over only with itself."""
    try:
        box.process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "timeout"
    return "ended"


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


def _start(walls: Walls, order: Order, user: int | None, own: Sequence[int]) -> subprocess.Popen[bytes]:
    """``own`` are the descriptors of the status pipe, for both who write to it, of the filter and the request."""
    info, status, seccomp, request = own
    return subprocess.Popen(
        walls.command(info, seccomp, [order.module, str(status), str(request), *map(str, order.open_files)]),
        stdin=order.stdin,
        stdout=order.stdout,
        stderr=subprocess.PIPE,
        pass_fds=(*own, *order.open_files),
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        start_new_session=True,
        cwd="/",
        env={},
    )


def _started(reading: int, process: subprocess.Popen[bytes]) -> int:
    """The pidfd of the box's first process, once the ``inside`` module says that it is there."""
    told = b""
    deadline = time.monotonic() + START_S
    with selectors.DefaultSelector() as ready:
        ready.register(reading, selectors.EVENT_READ)
        while not told.endswith(b"started"):
            part = os.read(reading, 4096) if ready.select(max(0.0, deadline - time.monotonic())) else b""
            if not part:
                raise UserError(_complaint(process), "starting a program under bubblewrap", walls_remedy())
            told += part
    return _pidfd(int(json.loads(told.removesuffix(b"started"))["child-pid"]), process.pid)


def _pidfd(child: int, parent: int) -> int:
    """Of ``child``, or ``GONE`` when that number is no longer ``parent``'s child but nobody's, or a stranger's."""
    try:
        descriptor = os.pidfd_open(child)
    except ProcessLookupError:
        return GONE
    with contextlib.suppress(OSError):
        after_name = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        if int(after_name[1]) == parent:
            return descriptor
    os.close(descriptor)
    return GONE


def _complaint(process: subprocess.Popen[bytes]) -> str:
    _kill(process)
    errors = process.stderr.read() if process.stderr else b""
    lines = errors.decode(errors="replace").strip().splitlines()
    return f"the sandbox did not start ({lines[-1] if lines else 'no message'})"


def walls_remedy() -> str:
    """What lets bubblewrap work, in one line."""
    return (
        "bubblewrap 0.8 or newer and user namespaces are needed (in a container: allow unshare; on Ubuntu 24.04: "
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0), or pass --unsafe-no-sandbox, which marks the results"
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The whole group: bubblewrap's second process joins a session of its own only when it dies with the first."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end(process: subprocess.Popen[bytes], init: int) -> None:
    """Kill the first process, so the kernel removes all of its namespace; bubblewrap then collects it and ends."""
    if init != GONE:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(init, signal.SIGKILL)
        os.close(init)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    _kill(process)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()

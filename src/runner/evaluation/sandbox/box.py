"""Untrusted processes: started, their output read up to a limit, everything of them killed.

What stands around them is ``walls``'s, what runs inside ``inside``'s; what an output is worth the callers decide.
"""

import contextlib
import os
import select
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.errors import UserError
from runner.evaluation.sandbox.walls import GONE, Start, Walls, sealed

OUTPUT_BYTES = 1 << 24
ERROR_BYTES = 4096
START_S = 20.0  # for bubblewrap and Python to start, on a busy machine
STARTED = b"started"

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


@dataclass
class Box:
    """A running program; ``first`` is a pidfd of the process with which all others go, from when it is known."""

    process: subprocess.Popen[bytes]
    first: int = GONE


@contextlib.contextmanager
def opened(walls: Walls, *orders: Order) -> Iterator[list[Box]]:
    """A box for each of ``orders``, started side by side, all running.  After the block no process of them is left.

    Raises ``UserError`` when one could not be set up.
    """
    with contextlib.ExitStack() as boxes:
        starting = [boxes.enter_context(_starting(walls, order)) for order in orders]
        yield [_started(walls, box, reading) for box, reading in starting]


def run(walls: Walls, order: Order, timeout_s: float) -> Ended:
    """What ``order`` gave within ``timeout_s`` of its start."""
    with opened(walls, order) as (box,):
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
        for stream in (*streams, *([] if box.first == GONE else [box.first])):
            ready.register(stream, selectors.EVENT_READ)
        ended = False
        while streams and not ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout", bytes(output), errors
            found = {key.fd for key, _ in ready.select(left)}
            ended = found == {box.first}  # it is gone and its pipes, if still held open, are empty
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
    left = max(0.0, deadline - time.monotonic())
    if box.first != GONE:  # collected only when its group is killed, for until then the group keeps its number
        return "ended" if select.select([box.first], [], [], left)[0] else "timeout"
    try:
        box.process.wait(left)
    except subprocess.TimeoutExpired:
        return "timeout"
    return "ended"


@contextlib.contextmanager
def _starting(walls: Walls, order: Order) -> Iterator[tuple[Box, int]]:
    """A box that may not run yet, and where it will say that it does.  After the block no process of it is left."""
    with contextlib.ExitStack() as until_over, contextlib.ExitStack() as until_started:
        reading, writing = os.pipe()
        until_over.callback(os.close, reading)
        until_started.callback(os.close, writing)
        request = sealed(order.request)
        until_started.callback(os.close, request)
        arguments = [order.module, *map(str, (writing, request, *order.open_files))]
        start = until_over.enter_context(walls.start(writing, arguments))
        for descriptor in start.descriptors:
            until_started.callback(os.close, descriptor)
        box = Box(_process(walls, order, start, (writing, request)))
        until_over.callback(_end, walls, box)
        until_started.close()
        yield box, reading


def _process(walls: Walls, order: Order, start: Start, own: Sequence[int]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            start.command,
            stdin=order.stdin,
            stdout=order.stdout,
            stderr=subprocess.PIPE,
            pass_fds=(*own, *start.descriptors, *order.open_files),
            user=start.user,
            group=start.user,
            extra_groups=None if start.user is None else [],
            start_new_session=True,
            cwd=start.folder,
            env=start.environment,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _not_started(walls, str(error)) from error


def _started(walls: Walls, box: Box, reading: int) -> Box:
    """The same box, once the ``inside`` module says that it is there."""
    told = b""
    deadline = time.monotonic() + START_S
    with selectors.DefaultSelector() as ready:
        ready.register(reading, selectors.EVENT_READ)
        while not told.endswith(STARTED):
            part = os.read(reading, 4096) if ready.select(max(0.0, deadline - time.monotonic())) else b""
            if not part:
                raise _not_started(walls, _complaint(walls, box))
            told += part
    box.first = walls.first(told.removesuffix(STARTED), box.process)
    return box


def _complaint(walls: Walls, box: Box) -> str:
    walls.kill(box.process, box.first)
    errors = box.process.stderr.read() if box.process.stderr else b""
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _not_started(walls: Walls, why: str) -> UserError:
    return UserError(f"the sandbox did not start ({why})", f"starting a program under {walls.name}", walls.remedy)


def _end(walls: Walls, box: Box) -> None:
    walls.kill(box.process, box.first)
    box.process.wait()
    if box.first != GONE:
        os.close(box.first)
    for stream in (box.process.stdout, box.process.stderr):
        if stream is not None:
            stream.close()

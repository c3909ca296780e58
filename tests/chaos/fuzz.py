"""Generated cases that must end well, each within ten seconds, and write nothing outside one folder."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

Case = TypeVar("Case")
WITHIN_S = 10.0
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Hung(Exception):
    """A case took longer than it may."""


def fuzz(cases: int, strategy: SearchStrategy[Case], check: Callable[[Case], None], inside: Path) -> int:
    """``check`` of so many cases drawn from ``strategy``, which may write into ``inside`` only; how many it were."""
    made = 0

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def each(case: Case) -> None:
        nonlocal made
        made += 1
        with within(WITHIN_S), writes_only(inside):
            check(case)

    each()
    return made


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """``Hung`` if the block takes longer."""

    def rung(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"it took more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, rung)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def writes_only(inside: Path) -> Iterator[None]:
    """AssertionError if the block makes, opens for writing or renames anything that does not lie in ``inside``."""
    written: list[str] = []
    _watchers.append(written)
    try:
        yield
    finally:
        _watchers.remove(written)
    outside = [path for path in written if not Path(path).resolve().is_relative_to(inside.resolve())]
    assert not outside, outside


_watchers: list[list[str]] = []


def _noted(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which cannot be taken away again: one for all blocks."""
    if not _watchers:
        return
    paths: tuple[Any, ...] = ()
    if event == "open" and arguments[2] & WRITES:
        paths = arguments[:1]
    elif event in ("os.mkdir", "os.symlink", "os.link", "os.truncate"):
        paths = arguments[1:2] if event in ("os.symlink", "os.link") else arguments[:1]
    elif event == "os.rename":
        paths = arguments[:2]
    for watcher in _watchers:
        watcher += [os.fsdecode(path) for path in paths if isinstance(path, str | bytes | os.PathLike)]


sys.addaudithook(_noted)

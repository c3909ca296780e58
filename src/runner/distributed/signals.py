"""SIGTERM and Ctrl-C, turned into a file that asks the workers to save and end.

The file is seen by workers on other nodes too, because the run's folder is shared.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from runner.errors import Interrupted, Stopped


@contextmanager
def sigterm_stops() -> Iterator[None]:
    """Within the block SIGTERM raises ``Stopped``, as long as nothing is trained: then ``StopSignals`` takes it."""
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise SystemExit

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException:
        if not asked:
            raise
        # also what a library that was just being imported has made of it
        raise Stopped("stopped before the first step", "nothing had been trained", "run it again") from None
    finally:
        signal.signal(signal.SIGTERM, before)


class StopSignals:
    """Within the block the first SIGTERM or SIGINT writes ``stop_file``; ``name`` says which came."""

    def __init__(self, stop_file: Path) -> None:
        self.stop_file = stop_file
        self.name: str | None = None
        self._interrupts = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned is what it takes
        self.stop_file.unlink(missing_ok=True)

    def raise_if_repeated(self) -> None:
        """Raise ``Interrupted`` after a second Ctrl-C."""
        if self._interrupts > 1:
            raise Interrupted(
                "ended at once", str(self.stop_file.parent), "the last checkpoint is what a resume goes on from"
            )

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name
        self._interrupts += number == signal.SIGINT
        self.stop_file.touch()

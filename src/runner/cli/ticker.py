"""One changing line at the foot of a terminal, above it lines that stay; plain lines where there is no terminal.

What the line says is decided by its callers.
"""

import shutil
import time
from typing import TextIO

BAR = 20  # columns
PLAIN_S = 30.0  # seconds between two lines of progress where there is no terminal


class Ticker:
    """Shows progress on ``stream``; safe to use when it is a file or a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self._told_at = time.monotonic()

    def show(self, text: str) -> None:
        """Replace the changing line; where there is no terminal, a line that stays, at most every 30 s."""
        if self.live:
            columns = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r{text[:columns]}\x1b[K")
            self.stream.flush()
        elif time.monotonic() - self._told_at > PLAIN_S:
            self.say(text)

    def say(self, text: str) -> None:
        """Add a line that stays."""
        self.clear()
        self.stream.write(f"{text}\n")
        self.stream.flush()
        self._told_at = time.monotonic()

    def clear(self) -> None:
        """Take the changing line away."""
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def update(self, task: str, done: int, total: int) -> None:
        """Show how far ``task`` is; the line goes when it is done."""
        if done >= total:
            self.clear()
        else:
            self.show(f"{task} {bar(done, total)} {done:,} of {total:,}")


def bar(done: int, total: int) -> str:
    """A bar of ``BAR`` columns."""
    full = round(BAR * min(1.0, done / max(total, 1)))
    return "█" * full + "░" * (BAR - full)


def duration(seconds: float) -> str:
    """``1:02:03``, ``4:05`` or ``12 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"

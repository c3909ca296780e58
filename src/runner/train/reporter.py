"""How the loop tells the outside what happens: one small interface, and its plain implementation.

Showing it on a screen, and telling Ray, is done by those who call the loop.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from runner.runs import JSON, MetricsLog
from runner.runs.trackers import Tracker


class Reporter(Protocol):
    """What the loop needs of the world around it; called on every rank."""

    def record(self, record: Mapping[str, JSON]) -> None:
        """One line of the run's record."""

    def resumed(self, step: int) -> None:
        """The run goes on after ``step``; -1: it starts anew.  What was recorded of later steps no longer holds."""

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        """A checkpoint is durable."""

    def stop_requested(self) -> bool:
        """Whether this rank was asked to save and end."""

    def close(self) -> None:
        """No record comes any more; called by whoever made the reporter."""


class FileReporter:
    """Records go to the run's metrics file and its trackers; a stop is asked for by a file."""

    def __init__(self, log: MetricsLog, open_tracker: Callable[[int], Tracker], stop_file: Path) -> None:
        """``open_tracker`` takes the step that the run goes on after, 0 when it starts anew."""
        self._log = log
        self._open_tracker = open_tracker
        self._tracker: Tracker | None = None
        self._stop_file = stop_file

    def record(self, record: Mapping[str, JSON]) -> None:
        """Append to ``metrics.jsonl`` first, then tell the trackers what was new there."""
        if self._log.append(record) and self._tracker is not None:
            self._tracker.log(record)

    def resumed(self, step: int) -> None:
        """Cut metrics and trackers back to ``step``."""
        self._log.truncate_after(step)
        self._tracker = self._open_tracker(max(step, 0))

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        """The folder itself is the record."""

    def stop_requested(self) -> bool:
        """Whether the stop file exists."""
        return self._stop_file.exists()

    def close(self) -> None:
        """Send what waits."""
        self._log.close()
        if self._tracker is not None:
            self._tracker.close()


class SilentReporter:
    """For ranks that do not write."""

    def record(self, record: Mapping[str, JSON]) -> None:
        """Nothing."""

    def resumed(self, step: int) -> None:
        """Nothing."""

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        """Nothing."""

    def stop_requested(self) -> bool:
        """Never; rank 0 is asked."""
        return False

    def close(self) -> None:
        """Nothing."""

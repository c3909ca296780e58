"""A run's records as they are written, shown in the terminal: the loss, the speed, the time left.

Reads the run's metrics file only, so that it shows the same whoever trains and wherever.
"""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.ticker import Ticker, bar, duration

if TYPE_CHECKING:
    from runner.config.job import Job
    from runner.runs.folder import RunFolder
    from runner.runs.metrics import Record

POLL_S = 0.25
SMOOTHING = 0.9  # of the loss and the step time that the line shows


class NewRecords:
    """The records added to a metrics file since the last call.

    Cutting the file back, as a resume does, hides nothing: what then follows the common beginning is new.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: tuple[int, int, int] | None = None
        self._lines: list[bytes] = []
        self()  # what is there already has been shown by an earlier launch

    def __call__(self) -> "list[Record]":
        """Whole new records, oldest first."""
        from runner.runs.metrics import parse_line

        try:
            facts = self._path.stat()
            mark = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if mark == self._mark:
                return []
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        self._mark = mark
        lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        same = _common(self._lines, lines)
        self._lines = lines
        return [record for line in lines[same:] if (record := parse_line(line)) is not None]


def _common(old: list[bytes], new: list[bytes]) -> int:
    """Length of the common beginning."""
    if new[: len(old)] == old:
        return len(old)
    return next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


class Watching:
    """Shows one launched job; ``follow`` is what ``launch`` calls."""

    def __init__(self, job: "Job", ticker: Ticker | None = None) -> None:
        self._job = job
        self._ticker = ticker or Ticker(sys.stderr)
        self._end = job.train.steps
        self._loss: float | None = None
        self._seconds: float | None = None
        self._began = time.monotonic()
        self._waiting = "starting"

    def follow(self, folder: "RunFolder", ended: Callable[[], bool]) -> None:
        """Show the run's records until ``ended()``, the last ones included."""
        from runner.runs.folder import STOP_FILE

        records, stop_file = NewRecords(folder.metrics_file), folder.inside(STOP_FILE)
        over = stopping = False
        while not over:
            over = ended()
            for record in records():
                self.tell(record)
            if not stopping and stop_file.exists():
                stopping = True
                self._ticker.say("stopping: this step is finished and saved first (Ctrl-C again ends at once)")
            if self._waiting and not over:
                self._ticker.show(f"{self._waiting} ... {duration(time.monotonic() - self._began)}")
            time.sleep(0.0 if over else POLL_S)
        self._ticker.clear()

    def tell(self, record: "Record") -> None:
        """Show one record: a step on the changing line, everything else on one that stays."""
        kind = record.get("kind")
        if kind == "train":
            self._waiting = ""
            self._ticker.show(self._step(record))
            return
        if kind == "event" and isinstance(record.get("end"), int):
            self._end = int(_number(record, "end"))
        line = {"startup": _startup, "validation": _validation, "passes": _passes, "event": _event}.get(str(kind))
        if line is not None:
            self._ticker.say(line(record))

    def _step(self, record: "Record") -> str:
        loss, seconds = record.get("loss"), _number(record, "seconds")
        if isinstance(loss, int | float):
            self._loss = loss if self._loss is None else SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        self._seconds = seconds if self._seconds is None else SMOOTHING * self._seconds + (1 - SMOOTHING) * seconds
        step = int(_number(record, "step"))
        left = duration(max(0, self._end - step) * self._seconds)
        shown_loss = "not finite" if loss is None or self._loss is None else f"{self._loss:.3f}"
        speed = f"{_number(record, 'tokens_per_s'):,.0f} tokens/s"
        return f"step {step:,}/{self._end:,} {bar(step, self._end)} loss {shown_loss}, {speed}, {left} left"


def _number(record: "Mapping[str, object]", key: str) -> float:
    value = record.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _startup(record: "Record") -> str:
    parts = {key.removesuffix("_s"): _number(record, key) for key in record if key.endswith("_s")}
    told = ", ".join(f"{name.replace('_', ' ')} {seconds:.1f}" for name, seconds in parts.items())
    return f"started in {sum(parts.values()):.1f} s ({told})"


def _validation(record: "Record") -> str:
    parts = ", ".join(
        f"{name} {value:.3f}" for name in ("think", "answer") if isinstance(value := record.get(f"{name}_loss"), float)
    )
    loss = record.get("loss")
    shown = f"{loss:.4f}" if isinstance(loss, float) else "not finite"
    return f"step {int(_number(record, 'step')):,}: validation loss {shown}{f' ({parts})' if parts else ''}"


def _passes(record: "Record") -> str:
    solved, questions = int(_number(record, "solved")), int(_number(record, "questions"))
    in_format = f" in the {form} format" if isinstance(form := record.get("format"), str) else ""
    return f"step {int(_number(record, 'step')):,}: {solved} of {questions} held-out questions solved{in_format}"


def _event(record: "Record") -> str:
    return f"step {int(_number(record, 'step')):,}: {record.get('text', '')}"

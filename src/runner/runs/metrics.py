"""metrics.jsonl: one JSON record a line, appended as training goes, cut back when a run resumes.

What the records hold is decided where they are measured; drawing them is ``report``'s task.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeAlias

from runner.runs.durable import JSON, write_file

Record: TypeAlias = Mapping[str, JSON]
MEASUREMENTS = ("validation", "passes")


class MetricsLog:
    """The metrics of one run, for its one writer.

    ``append`` is visible to readers at once.  A line torn by a crash is removed before the next one is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._measured: set[tuple[JSON, ...]] = set()

    def append(self, record: Record) -> bool:
        """Add one record; a number that is not finite is written as null (JSON has no other way).

        False, and nothing is added, for what stands there already: the run goes on from this very step, and measures
        again what it measured after it.
        """
        if _measurement(record) in self._measured:
            return False
        if self._file is None:
            self._file = _open_after_whole_lines(self._path)
        self._file.write(_line(record))
        self._file.flush()
        return True

    def truncate_after(self, step: int) -> None:
        """Drop the records of later steps, atomically; the rest keeps its bytes.

        Call it at a resume from ``step``, so that each step stands once.  Unreadable lines go too, with an event
        that counts them.
        """
        self.close()
        lines = _lines(self._path)
        kept, damaged = [], 0
        for line in lines:
            record = _parsed(line)
            damaged += record is None
            if record is not None and _step(record) <= step:
                kept.append(line)
        if damaged:
            text = f"{damaged} unreadable {'line' if damaged == 1 else 'lines'} of {self._path.name} dropped"
            kept.append(_line({"kind": "event", "step": step, "text": text}))
        if kept != lines:
            write_file(self._path, b"".join(kept))
        found = (record for line in kept if (record := _parsed(line)) is not None and _step(record) == step)
        self._measured = {key for record in found if (key := _measurement(record))}

    def read(self) -> tuple[Record, ...]:
        """All whole records so far; see ``read_metrics``."""
        return read_metrics(self._path)

    def close(self) -> None:
        """End writing, with the records on the disk; ``append`` opens the file again."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> tuple[Record, ...]:
    """The whole records in ``path``, none if it is missing; a torn last line and unreadable lines are left out."""
    return tuple(record for line in _lines(path) if (record := _parsed(line)) is not None)


def parse_line(line: bytes) -> Record | None:
    """The record of one line, or None if the line is torn or no record."""
    return _parsed(line)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _parsed(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _measurement(record: Record) -> tuple[JSON, ...]:
    """What tells a measurement after a step from others of that step; nothing for records of anything else."""
    once = record.get("kind") in MEASUREMENTS or record.get("name") == "plateau"
    return tuple(record.get(key) for key in ("kind", "name", "format", "step")) if once else ()


def _step(record: Record) -> int:
    step = record.get("step")
    return step if isinstance(step, int) else 0


def _line(record: Record) -> bytes:
    return json.dumps({key: _finite(value) for key, value in record.items()}, allow_nan=False).encode() + b"\n"


def _finite(value: JSON) -> JSON:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _open_after_whole_lines(path: Path) -> BinaryIO:
    file = path.open("ab+")
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
    return file

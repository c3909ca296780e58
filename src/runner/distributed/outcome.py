"""How a launched job ended, carried from its workers to the one who launched it through a file of the run.

Ray's own channels lose the kind of an error and retry the user's mistakes; a file does neither.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import runner.errors
from runner.errors import RunnerError, TrainingFailed
from runner.runs import RunFolder
from runner.runs.durable import write_file
from runner.train.result import Ending, Result
from runner.train.schedule import Measured

OUTCOME_FILE = "outcome.json"
ROOM_FILE = "outcome.room"
ROOM_BYTES = 64 << 10


@dataclass(frozen=True)
class Outcome:
    """A run's folder and how it ended; ``finished_before`` when there was nothing left to do."""

    folder: Path
    ending: Ending
    step: int
    best: Measured | None = None
    plateau_step: int | None = None
    finished_before: bool = False


@contextmanager
def room_for_outcome(folder: RunFolder) -> Iterator[None]:
    """Hold room on the disk while the block runs, so that after it the end can be told even if the disk is full."""
    room = folder.inside(ROOM_FILE)
    try:
        room.write_bytes(os.urandom(ROOM_BYTES))  # what cannot be compressed takes the room on every file system
        yield
    finally:
        room.unlink(missing_ok=True)


def write_result(folder: Path, launch_id: str, result: Result) -> None:
    """Record a normal end of the launch ``launch_id``."""
    record = {"ending": result.ending, "step": result.step, "plateau_step": result.plateau_step}
    best = asdict(result.best) if result.best else None
    _write(folder, {"launch": launch_id, "best": best, **record})


def write_error(folder: Path, launch_id: str, error: RunnerError) -> None:
    """Record an end by ``error``; its class and its three parts travel."""
    parts = {"kind": type(error).__name__, "what": error.what, "where": error.where, "remedy": error.remedy}
    _write(folder, {"launch": launch_id, "error": parts})


def read_outcome(folder: Path, launch_id: str) -> Outcome | RunnerError | None:
    """What the launch ``launch_id`` recorded; None when its workers never came to an end."""
    try:
        record: dict[str, Any] = json.loads((folder / OUTCOME_FILE).read_text())
    except (OSError, ValueError):
        return None
    if record.get("launch") != launch_id:
        return None
    if "error" in record:
        error = record["error"]
        kind = getattr(runner.errors, error["kind"], TrainingFailed)
        ended: RunnerError = kind(*_parts(error))
        return ended
    best = Measured(**record["best"]) if record["best"] else None
    return Outcome(folder, record["ending"], record["step"], best, record["plateau_step"])


def _parts(error: dict[str, str]) -> tuple[str, str, str]:
    return error["what"], error["where"], error["remedy"]


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_file(folder / OUTCOME_FILE, (json.dumps(record, indent=1) + "\n").encode())

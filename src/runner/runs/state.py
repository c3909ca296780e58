"""state.json: how far a run is and how it ended, in a few words.

It is told by the process that works on the run; whether that process still lives is asked of ``lock``.
"""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from runner.runs.durable import write_json

State: TypeAlias = Literal["new", "running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class RunState:
    """``state`` after ``step`` of ``steps``; ``reason`` says why it ended there, one line; times are ISO 8601, UTC."""

    state: State
    job_hash: str
    step: int = 0
    steps: int = 0
    reason: str = ""
    began: str = ""
    changed: str = ""


def moment(seconds: float) -> str:
    """A time given in seconds since 1970, as the records hold times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def seconds_between(began: str, ended: str) -> float:
    """Seconds from one recorded time to another; 0 if either is missing or no time."""
    try:
        return max(0.0, (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def write_state(path: Path, state: RunState) -> RunState:
    """Record ``state``, stamped with the present time, atomically; returns what was written."""
    now = moment(time.time())
    stamped = RunState(**{**asdict(state), "changed": now, "began": state.began or now})
    write_json(path, asdict(stamped))
    return stamped


def read_state(path: Path) -> RunState | None:
    """The recorded state, or None if there is none that can be read."""
    try:
        record = json.loads(path.read_text())
        state = RunState(**record)
    except (OSError, ValueError, TypeError):
        return None
    whole = state.state in get_args(State) and isinstance(state.step, int) and isinstance(state.steps, int)
    return state if whole else None

"""What of a run's folder goes to the bucket and under which keys; and where the folder itself came from.

A published folder and an attempt's records each lie under a name of their own, so that whoever has been overtaken
overwrites nothing: ``register`` says which of them count.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.runs.durable import PARTIAL, write_file, write_json
from runner.runs.folder import STOP_FILE, RunFolder
from runner.runs.lock import Holder

JOB_FILE = "job.yaml"
RECORDS = "records"
OUTGOING = ".outgoing"
STOP_KEY = "stop"
DRIVER_FILE = ".driver"  # in the folder in which the launcher works: who it is
_WRITER_FILE = ".writer"  # in the folder in which a writing rank works: its attempt
WEIGHTS = ("best", "final")
_ORIGIN = "origin.json"
_OWN = {JOB_FILE, "state.json", "run.lock", _ORIGIN, "outcome.room", STOP_FILE, "report.html"}
_STEP = re.compile(r"checkpoints/step-(\d{6,})")


@dataclass(frozen=True)
class Origin:
    """The URL of the run that a folder is a copy of, and the attempt whose records it has.

    ``own``: this folder is where that attempt trains, so that what lies here is as new as the bucket or newer.
    ``held`` says who had the run when it was looked at: host, pid, since.
    """

    url: str
    attempt: str
    own: bool = False
    held: Mapping[str, Any] | None = None


def copies(cache: Path, url: str) -> Path:
    """The folder in which the runs under ``url`` lie on this machine."""
    url = url.rstrip("/")
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", url)[:80]
    return cache.expanduser().resolve() / "remote" / f"{plain}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def lock_file(root: Path, name: str) -> Path:
    """Locked by the process of this machine that has claimed the run ``name``, whose copy lies under ``root``."""
    return _beside(root, name, "claim.lock")


def bringing_file(root: Path, name: str) -> Path:
    """Locked while something of the run ``name`` is brought to its copy under ``root``."""
    return _beside(root, name, "bringing.lock")


def _beside(root: Path, name: str, file: str) -> Path:
    """Not in the run's folder, which may go and come."""
    path = root / ".claims" / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def read_origin(root: Path) -> Origin | None:
    """Where the run in ``root`` came from; None for one that has always been there."""
    try:
        values: dict[str, Any] = json.loads((root / _ORIGIN).read_text())
        return Origin(**values)
    except (OSError, ValueError, TypeError):
        return None


def writer_here(root: Path) -> str | None:
    """The attempt whose writing rank works, or worked, in ``root``."""
    try:
        return (root / _WRITER_FILE).read_text()
    except OSError:
        return None


def tell_writer(root: Path, attempt: str) -> None:
    """Say that the writing rank of ``attempt`` works in ``root``, before anyone learns of the attempt."""
    write_file(root / _WRITER_FILE, attempt.encode())


def held_elsewhere(root: Path) -> Holder | None:
    """Who trained the run in ``root`` on another machine when it was brought here, if anyone."""
    origin = read_origin(root)
    return Holder(**origin.held) if origin is not None and origin.held is not None else None


def write_origin(root: Path, origin: Origin) -> None:
    """Record where the run in ``root`` came from."""
    write_json(root / _ORIGIN, asdict(origin))


def forget_origin(root: Path) -> None:
    """From now on what lies in ``root`` is not to be believed."""
    (root / _ORIGIN).unlink(missing_ok=True)


def records_in(folder: RunFolder) -> list[Path]:
    """The small files of a run that its worker writes: metrics, environment, ledger, logs, events."""
    plain = [
        path
        for path in folder.root.iterdir()
        if path.is_file() and path.name not in _OWN and not path.name.startswith(".") and PARTIAL not in path.name
    ]
    return sorted(plain + [path for path in folder.events.rglob("*") if path.is_file()])


def step_of(name: str) -> int:
    """The step of ``checkpoints/step-000500``; -1 for what is no checkpoint."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else -1


def pruned(folders: dict[str, str], *, written: int, keep: int) -> dict[str, str]:
    """``folders`` less the checkpoints that go, by the rule of ``CheckpointStore``: the newest ``keep`` stay.

    Steps after ``written`` are the rest of a future that was given up: they neither count nor go.
    """
    steps = sorted((step for step in map(step_of, folders) if 0 <= step <= written), reverse=True)
    gone = set(steps[keep:])
    return {name: place for name, place in folders.items() if step_of(name) not in gone}

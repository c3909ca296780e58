"""Choosing and locking the folder a command trains in: a new one, an unfinished one to continue, a finished one.

Restoring the training itself from its checkpoints is the trainer's business.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

import yaml

from runner.errors import UserError
from runner.runs.durable import JSON, PARTIAL, write_file
from runner.runs.folder import RunFolder
from runner.runs.full_disk import no_place
from runner.runs.lock import RunInUse, RunLock
from runner.runs.state import RunState, State, read_state, write_state

Resume: TypeAlias = Literal["auto", "never", "must"]
_ROOM_FOR_NUMBER = 5
_SHOWN_DIFFERENCES = 8


@dataclass(frozen=True)
class JobRecord:
    """A resolved job as plain values, and the hash that says whether two jobs train the same."""

    values: Mapping[str, JSON]
    hash: str


@dataclass
class OpenRun:
    """A run's folder, locked for this process until ``close``.

    ``status``: ``new``; ``resumed`` (an unfinished run of this job); ``finished`` (nothing is left to do).
    """

    folder: RunFolder
    status: Literal["new", "resumed", "finished"]
    state: RunState
    lock: RunLock

    @property
    def place(self) -> str:
        """Where the run is kept, as messages say it."""
        return str(self.folder.root)

    def record(self, state: State, *, step: int, steps: int, reason: str = "") -> None:
        """Write how far the run is, and how it ended if it did."""
        changed = replace(self.state, state=state, step=step, steps=steps, reason=reason)
        try:
            self.state = write_state(self.folder.state_file, changed)
        except OSError as error:
            raise no_place(self.folder.root, error) from error

    def close(self) -> None:
        """Let other processes in."""
        self.lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_run(storage: Path, name: str, *, job: JobRecord, resume: Resume) -> OpenRun:
    """The locked folder to train ``job`` in, with job.yaml written.

    ``auto`` continues an unfinished run of the same job, returns a finished one as finished, and starts a new one
    where there is none.  ``never`` starts a new one: ``name``, or else ``name-2``, ``name-3``, ...  ``must``
    continues.  Of several processes that start at once exactly one gets a folder.  ``UserError`` if another process
    has the run, if another job stands under this name, if there is nothing to resume though it must, or if the
    folder cannot be made or written to; ``DoesNotFit`` where its disk is full.
    """
    folder = RunFolder.at(storage, name)
    try:
        return _open_new(storage, name, job) if resume == "never" else _open_there(folder, job, resume=resume)
    except OSError as error:
        raise no_place(folder.root, error) from error


def _open_there(folder: RunFolder, job: JobRecord, *, resume: Resume) -> OpenRun:
    name = folder.name
    if resume == "must" and not folder.job_file.is_file():
        raise UserError(f"there is no run {name} to resume", str(folder.root), "start it with --resume auto")
    folder.root.mkdir(parents=True, exist_ok=True)
    _refuse_strangers(folder)
    lock = RunLock(folder.lock_file)
    try:
        return _continue_or_begin(folder, lock, job)
    except BaseException:
        lock.release()
        raise


def differences(old: Mapping[str, JSON], new: Mapping[str, JSON], prefix: str = "") -> tuple[str, ...]:
    """Every key in which two jobs differ, as ``key: old -> new``."""
    lines: list[str] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {_shown(old, key)} -> {_shown(new, key)}")
    return tuple(lines)


def read_job(folder: RunFolder) -> dict[str, JSON]:
    """The resolved job that a run recorded; ``UserError`` if its file is missing or unreadable."""
    try:
        values = yaml.safe_load(folder.job_file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unreadable(folder, str(error).splitlines()[0]) from error
    if not isinstance(values, dict):
        raise _unreadable(folder, "it holds no keys")
    return values


def _open_new(storage: Path, name: str, job: JobRecord) -> OpenRun:
    for candidate in names_from(name):
        folder = RunFolder.at(storage, candidate)
        try:
            folder.root.mkdir(parents=True)
            lock = RunLock(folder.lock_file)
        except RunInUse:
            continue  # another start was quicker to lock the folder just made
        except FileExistsError:
            if not folder.root.is_dir():
                raise
            continue  # the name is taken
        return _begin(folder, lock, job)
    raise AssertionError("names never end")


def names_from(name: str) -> Iterator[str]:
    """``name``, ``name-2``, ``name-3`` and on, each a name of a run."""
    yield name
    number = 2
    while True:
        yield f"{name[: 64 - _ROOM_FOR_NUMBER]}-{number}"
        number += 1


def _continue_or_begin(folder: RunFolder, lock: RunLock, job: JobRecord) -> OpenRun:
    if not folder.job_file.is_file():
        return _begin(folder, lock, job)
    recorded = read_job(folder)
    state = read_state(folder.state_file) or RunState("running", job.hash if recorded == dict(job.values) else "")
    if state.job_hash != job.hash:
        raise _another_job(folder, differences(recorded, job.values))
    if state.state == "finished":
        return OpenRun(folder, "finished", state, lock)
    opened = OpenRun(folder, "resumed", state, lock)
    opened.record("running", step=state.step, steps=state.steps)
    return opened


def _begin(folder: RunFolder, lock: RunLock, job: JobRecord) -> OpenRun:
    """The state goes first: a folder with job.yaml is a run, so everything else must stand by then."""
    state = write_state(folder.state_file, RunState("running", job.hash))
    write_file(folder.job_file, yaml.safe_dump(dict(job.values), sort_keys=False, allow_unicode=True).encode())
    return OpenRun(folder, "new", state, lock)


def _refuse_strangers(folder: RunFolder) -> None:
    """A folder of something else must not become a run; what a start cut short leaves behind is no stranger."""
    if folder.job_file.is_file():
        return
    ours = {folder.lock_file.name, folder.state_file.name}
    strangers = sorted(p.name for p in folder.root.iterdir() if p.name not in ours and PARTIAL not in p.name)
    if strangers and not folder.job_file.is_file():
        raise UserError(
            f"the folder holds {strangers[0]} and no job.yaml: it is no run",
            str(folder.root),
            "give another name with --name, or another place with --storage",
        )


def _another_job(folder: RunFolder, lines: tuple[str, ...]) -> UserError:
    shown = ", ".join(lines[:_SHOWN_DIFFERENCES]) or "the job is the same, its hash was made by another version"
    more = f" and {len(lines) - _SHOWN_DIFFERENCES} more" if len(lines) > _SHOWN_DIFFERENCES else ""
    return UserError(
        f"another job stands under the name {folder.name}: {shown}{more}",
        str(folder.root),
        "give this one another name with --name, or start anew with --resume never",
    )


def _unreadable(folder: RunFolder, fault: str) -> UserError:
    return UserError(
        f"the run's job.yaml cannot be read ({fault})", str(folder.root), "restore it, or start anew with --name"
    )


def _shown(values: Mapping[str, JSON], key: str) -> str:
    return "absent" if key not in values else "null" if values[key] is None else str(values[key])

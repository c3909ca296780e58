"""The folder of one search: where each thing lies, who works on it, whether it may be gone on with.

What the journal in it says is ``journal``'s.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from runner.config.job import Job
from runner.config.search import Search
from runner.distributed.shared_folder import check_seen_by_all
from runner.errors import UserError
from runner.runs import RunFolder, RunLock, RunState, read_state
from runner.runs.durable import PARTIAL, write_file
from runner.runs.full_disk import no_place
from runner.runs.opening import differences
from runner.runs.state import State, write_state
from runner.search.journal import Journal
from runner.search.space import Space

SEARCHES = "searches"
FREE = {"trials", "repeats", "tolerance", "concurrency", "gpus_per_trial", "time_budget_minutes", "name", "job"}
"""Keys of a search that may differ when it goes on: they change how much is tried, not what a trial is."""


@dataclass(frozen=True)
class SearchFolder:
    """Paths inside ``root``, absolute; ``UserError`` for one that a symbolic link leads out."""

    root: Path

    @property
    def search_file(self) -> Path:
        """The resolved search; it names ``job.yaml`` beside it, so that it runs again from here."""
        return self.inside("search.yaml")

    @property
    def job_file(self) -> Path:
        """The resolved base job."""
        return self.inside("job.yaml")

    @property
    def journal_file(self) -> Path:
        """Everything measured."""
        return self.inside("journal.jsonl")

    @property
    def state_file(self) -> Path:
        """How far the search is and how it ended."""
        return self.inside("state.json")

    @property
    def best_file(self) -> Path:
        """The job with the lowest loss."""
        return self.inside("best.yaml")

    @property
    def earliest_file(self) -> Path:
        """The job that stops as early as the tolerance allows."""
        return self.inside("earliest.yaml")

    @property
    def answer_file(self) -> Path:
        """The answer as plain values."""
        return self.inside("answer.json")

    @property
    def page_file(self) -> Path:
        """The answer as a page."""
        return self.inside("search.html")

    @property
    def lock_file(self) -> Path:
        """Held by the process that works on the search."""
        return self.inside("run.lock")

    def inside(self, *parts: str) -> Path:
        """``root`` joined with ``parts``; ``UserError`` if that leads out, by name or through a symbolic link."""
        return RunFolder(self.root).inside(*parts)


@dataclass
class OpenSearch:
    """A search's folder, locked for this process until its block ends, with its journal open."""

    folder: SearchFolder
    journal: Journal
    state: RunState
    finished: bool  # nothing is left to do
    lock: RunLock

    @property
    def place(self) -> str:
        """Where the search is kept, as messages say it."""
        return str(self.folder.root)

    @property
    def must_stop(self) -> bool:
        """Whether what is measured from now on could not be kept; ``record`` then says why."""
        return False

    def check_seen(self, nodes: Sequence[dict[str, Any]]) -> None:
        """``UserError`` unless trials can work in the folder on all ``nodes``, as Ray lists them."""
        check_seen_by_all(self.folder.root, nodes)

    def grown(self) -> None:
        """The journal has another line."""

    def record(self, state: State, *, done: int, trials: int, reason: str = "") -> None:
        """Write how many of the trials have ended, and how the search ended if it did."""
        changed = replace(self.state, state=state, step=done, steps=trials, reason=reason)
        try:
            self.state = write_state(self.folder.state_file, changed)
        except OSError as error:
            raise no_place(self.folder.root, error, kind="search") from error

    def close(self) -> None:
        """Let other processes in."""
        self.journal.close()
        self.lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_search(storage: Path, space: Space, *, resume: bool) -> OpenSearch:
    """The locked folder to search ``space`` in, under the search's name, with its files written.

    ``resume`` goes on with what is there.  Without it a finished search of the same values is returned as finished.
    ``UserError`` if another process has it, if another search stands under the name, if it is unfinished and not to
    be resumed, if there is nothing to resume, or if the folder cannot be made or written to; ``DoesNotFit`` where its
    disk is full.
    """
    folder = SearchFolder(RunFolder.at(storage, space.search.name).root)
    try:
        return _open_there(folder, space, resume=resume)
    except OSError as error:
        raise no_place(folder.root, error, kind="search") from error


def _open_there(folder: SearchFolder, space: Space, *, resume: bool) -> OpenSearch:
    present = folder.search_file.is_file()
    if resume and not present:
        raise UserError(f"there is no search {space.search.name} to resume", str(folder.root), "leave out --resume")
    if not present:
        _make(folder)
    lock = RunLock(folder.lock_file)
    try:
        finished = present and _is_finished(folder, space, resume=resume)
        state = read_state(folder.state_file) or RunState("running", _identity(space))
        if not finished:
            state = write_state(folder.state_file, replace(state, state="running", job_hash=_identity(space)))
            _write(folder, space)
        return OpenSearch(folder, Journal(folder.journal_file), state, finished, lock)
    except BaseException:
        lock.release()
        raise


def _make(folder: SearchFolder) -> None:
    folder.root.mkdir(parents=True, exist_ok=True)
    ours = {folder.lock_file.name, folder.state_file.name, folder.job_file.name}
    strangers = sorted(p.name for p in folder.root.iterdir() if p.name not in ours and PARTIAL not in p.name)
    if strangers:
        raise UserError(
            f"the folder holds {strangers[0]} and no search.yaml: it is no search",
            str(folder.root),
            "give another name with --name, or another place with --storage",
        )


def _is_finished(folder: SearchFolder, space: Space, *, resume: bool) -> bool:
    """Whether the search there has nothing left to do; ``UserError`` when it may not be gone on with."""
    recorded, name = _recorded(folder), space.search.name
    unlike = differences(recorded["identity"], _identity_values(space))
    if unlike:
        raise UserError(
            f"another search stands under the name {name}: {', '.join(unlike[:8])}",
            str(folder.root),
            "give this one another name with --name",
        )
    state = read_state(folder.state_file)
    more = [key for key in ("trials", "repeats") if getattr(space.search, key) > recorded["search"].get(key, 0)]
    if state is not None and state.state == "finished" and not more:
        return True
    if not resume:
        left = f"has {', '.join(more)} to do" if more else "is unfinished"
        raise UserError(
            f"the search {name} {left}", str(folder.root), "go on with it by --resume, or give another name with --name"
        )
    return False


def _write(folder: SearchFolder, space: Space) -> None:
    """search.yaml goes last: a folder with it is a search, so everything else must stand by then."""
    _write_yaml(folder.job_file, space.job.model_dump(mode="json"))
    _write_yaml(folder.search_file, search_values(space.search))


def search_values(search: Search) -> dict[str, Any]:
    """The resolved search as its file says it, on a job that has its overrides already."""
    values = search.model_dump(mode="json", exclude={"space", "override"})
    space = {key: ranges.model_dump(mode="json", exclude_unset=True) for key, ranges in search.space.items()}
    return {**values, "job": "job.yaml", "space": space}


def _write_yaml(path: Path, values: dict[str, Any]) -> None:
    write_file(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())


def _recorded(folder: SearchFolder) -> dict[str, Any]:
    """The recorded search and what identifies it, as plain values."""
    try:
        search = yaml.safe_load(folder.search_file.read_text())
        job = Job.model_validate(yaml.safe_load(folder.job_file.read_text()))
        identity = {key: value for key, value in search.items() if key not in FREE}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"the search's record cannot be read ({str(error).splitlines()[0]})",
            str(folder.root),
            "restore search.yaml and job.yaml, or start anew with --name",
        ) from error
    return {"search": search, "identity": {**identity, "job": job.model_dump(mode="json")}}


def _identity_values(space: Space) -> dict[str, Any]:
    search = {key: value for key, value in search_values(space.search).items() if key not in FREE}
    return {**search, "job": space.job.model_dump(mode="json")}


def _identity(space: Space) -> str:
    """64 hex digits, equal for searches whose trials are the same."""
    return hashlib.sha256(json.dumps(_identity_values(space), sort_keys=True).encode()).hexdigest()

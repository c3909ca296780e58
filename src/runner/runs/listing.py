"""The runs under a storage path, one summary each, for people who look for one.

A run's metrics are drawn by ``report``; here they only give the step and the best loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from runner.errors import UserError
from runner.runs.durable import JSON
from runner.runs.folder import RunFolder
from runner.runs.lock import Holder, is_held, read_holder
from runner.runs.metrics import Record, read_metrics
from runner.runs.opening import read_job
from runner.runs.remote.layout import held_elsewhere
from runner.runs.state import RunState, State, moment, read_state, seconds_between

_Number = TypeVar("_Number", int, float)
KILLED = "its process ended without a word"


@dataclass(frozen=True)
class RunSummary:
    """One run: its state, ``step`` of ``steps``, lowest validation loss (nats a token), and when it last changed.

    ``seconds`` lie between the run's beginning and its last change, pauses before a resume included.
    """

    name: str
    state: State
    step: int
    steps: int
    best_validation_loss: float | None
    changed: str
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class LoadedRun:
    """Everything recorded of one run; ``holder`` is the process working on it now, if any."""

    folder: RunFolder
    job: Mapping[str, JSON]
    summary: RunSummary
    records: tuple[Record, ...]
    holder: Holder | None


def list_runs(storage: Path) -> tuple[RunSummary, ...]:
    """The runs under ``storage``, the last changed first; folders that are no runs are left out.

    A run whose record is damaged is listed as failed, with the reason.
    """
    if not storage.is_dir():
        return ()
    names = [path.parent.name for path in storage.glob("*/job.yaml")]
    summaries = []
    for name in names:
        try:
            summaries.append(load_run(storage, name).summary)
        except UserError as error:
            summaries.append(RunSummary(name, "failed", 0, 0, None, "", str(error)))
    return tuple(sorted(summaries, key=lambda summary: (summary.changed, summary.name), reverse=True))


def load_run(storage: Path, name: str) -> LoadedRun:
    """The run ``name`` under ``storage``; ``UserError`` names the runs there are, if it is none of them."""
    folder = RunFolder.at(storage, name)
    if not folder.job_file.is_file():
        present = sorted(path.parent.name for path in storage.glob("*/job.yaml"))
        there = f"the runs there: {', '.join(present)}" if present else "there is none yet"
        raise UserError(f"there is no run {name}", f"{storage} ({there})", "give one of them, or another --storage")
    job = read_job(folder)
    records = read_metrics(folder.metrics_file)
    here, elsewhere = is_held(folder.lock_file), held_elsewhere(folder.root)
    state = read_state(folder.state_file) or RunState("running", "")
    summary = _summary(folder, state, job, records, held=here or elsewhere is not None)
    return LoadedRun(folder, job, summary, records, read_holder(folder.lock_file) if here else elsewhere)


def _summary(
    folder: RunFolder, state: RunState, job: Mapping[str, JSON], records: tuple[Record, ...], *, held: bool
) -> RunSummary:
    killed = state.state == "running" and not held
    changed = max(state.changed, moment(folder.metrics_file.stat().st_mtime) if records else "")
    return RunSummary(
        name=folder.name,
        state="stopped" if killed else state.state,
        step=max([state.step, *_values(records, "train", "step", int)]),
        steps=state.steps or _planned_steps(job),
        best_validation_loss=min(_values(records, "validation", "loss", float), default=None),
        changed=changed,
        reason=KILLED if killed else state.reason,
        seconds=seconds_between(state.began, changed),
    )


def _values(records: tuple[Record, ...], kind: str, key: str, of: type[_Number]) -> list[_Number]:
    found = (record.get(key) for record in records if record.get("kind") == kind)
    return [value for value in found if isinstance(value, of)]


def _planned_steps(job: Mapping[str, JSON]) -> int:
    train = job.get("train")
    steps = train.get("steps") if isinstance(train, Mapping) else None
    return steps if isinstance(steps, int) else 0

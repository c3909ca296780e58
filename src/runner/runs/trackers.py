"""Metrics handed on to TensorBoard, MLflow and Weights & Biases, with the step given, so that a resume goes on there.

metrics.jsonl is the record; a tracker that fails later is left out with a warning and never ends a training.
"""

import importlib
import importlib.util
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from runner.errors import UserError
from runner.runs.durable import JSON, write_json
from runner.runs.folder import RunFolder
from runner.runs.metrics import Record
from runner.runs.opening import read_job

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
PROJECT = "runner"
_TRACKING_URI = "MLFLOW_TRACKING_URI"


class Tracker(Protocol):
    """Where metric records go beside metrics.jsonl."""

    def log(self, record: Record) -> None:
        """Hand on the numbers of one record, under ``<kind>/<name>`` at the record's step."""

    def close(self) -> None:
        """Send what waits, and end."""


def check_trackers(track: Sequence[str]) -> None:
    """``UserError`` with the command that installs it, if a tracker's package is missing; imports none of them."""
    for name in track:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"track names {name}, which is not installed",
                "the job's key track",
                f"pip install {PACKAGES[name]}, or remove {name} from track",
            )


def open_trackers(track: Sequence[str], folder: RunFolder, *, step: int = 0) -> Tracker:
    """One tracker that hands on to each of ``track``; ``step`` is the checkpoint's on a resume, 0 on a new run.

    On a resume TensorBoard drops what was logged after ``step``, and MLflow and W&B go on in the run they had.
    """
    check_trackers(track)
    makers: dict[str, Callable[[], _Destination]] = {
        "tensorboard": lambda: _TensorBoard(folder, step),
        "mlflow": lambda: _Mlflow(folder),
        "wandb": lambda: _Wandb(folder),
    }
    return _All({name: makers[name]() for name in track})


class _Destination(Protocol):
    failures: tuple[type[Exception], ...]  # what its package raises beside OSError

    def log(self, numbers: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class _All:
    """Hands each record to every destination; one that fails is dropped, said once."""

    def __init__(self, destinations: Mapping[str, _Destination]) -> None:
        self._open = dict(destinations)

    def log(self, record: Record) -> None:
        numbers, step = _numbers(record), record.get("step", 0)
        if not numbers or not isinstance(step, int):
            return
        for name in tuple(self._open):
            self._try(name, lambda destination: destination.log(numbers, step))

    def close(self) -> None:
        for name in tuple(self._open):
            self._try(name, lambda destination: destination.close())
            self._open.pop(name, None)

    def _try(self, name: str, act: "Callable[[_Destination], None]") -> None:
        destination = self._open[name]
        failures: tuple[type[Exception], ...] = (OSError, *destination.failures)
        try:
            act(destination)
        except failures as error:
            del self._open[name]
            warnings.warn(f"{name} takes no more metrics: {error}; training goes on without it", stacklevel=3)


class _TensorBoard:
    """Event files under the run's folder."""

    failures: tuple[type[Exception], ...] = ()

    def __init__(self, folder: RunFolder, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(folder.events), flush_secs=10)
        if step:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._writer.add_event(self._event(wall_time=time.time(), step=step + 1, session_log=start))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        values = [self._summary.Value(tag=tag, simple_value=number) for tag, number in numbers.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))

    def close(self) -> None:
        self._writer.close()


class _Mlflow:
    """A run of the experiment ``runner``; in the run's own folder where no tracking server is named."""

    failures: tuple[type[Exception], ...]

    def __init__(self, folder: RunFolder) -> None:
        mlflow: Any = importlib.import_module("mlflow")
        self.failures = (mlflow.exceptions.MlflowException,)
        uri = None if os.environ.get(_TRACKING_URI) else f"sqlite:///{folder.inside('mlflow.db')}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._run = _identity(folder, "mlflow") or self._begin(folder)
        self._client.update_run(self._run, status="RUNNING")

    def _begin(self, folder: RunFolder) -> str:
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        run = str(self._client.create_run(experiment, run_name=folder.name).info.run_id)
        for key, value in _flat(read_job(folder)):
            self._client.log_param(run, key, value)
        _remember(folder, "mlflow", run)
        return run

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for key, number in numbers.items():
            self._client.log_metric(self._run, key, number, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _Wandb:
    """A run of the project ``runner``; its local files lie in the run's folder."""

    failures: tuple[type[Exception], ...]

    def __init__(self, folder: RunFolder) -> None:
        wandb: Any = importlib.import_module("wandb")
        self.failures = (wandb.Error,)
        self._run = wandb.init(
            project=PROJECT,
            name=folder.name,
            id=_identity(folder, "wandb"),
            resume="allow",
            dir=str(folder.root),
            config=dict(read_job(folder)),
            settings=wandb.Settings(console="off"),
        )
        self._run.define_metric("*", step_metric="step")
        _remember(folder, "wandb", str(self._run.id))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log({**numbers, "step": step})

    def close(self) -> None:
        self._run.finish()


def _numbers(record: Record) -> dict[str, float]:
    """The numbers of a record as ``kind/name``; texts, lists and nulls are left out."""
    kind = record.get("kind")
    return {
        f"{kind}/{key}": float(value)
        for key, value in record.items()
        if key != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _flat(values: Mapping[str, JSON], prefix: str = "") -> list[tuple[str, JSON]]:
    pairs: list[tuple[str, JSON]] = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return pairs


def _identities(folder: RunFolder) -> dict[str, JSON]:
    try:
        record = json.loads(folder.trackers_file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _identity(folder: RunFolder, tracker: str) -> str | None:
    value = _identities(folder).get(tracker)
    return value if isinstance(value, str) else None


def _remember(folder: RunFolder, tracker: str, identity: str) -> None:
    write_json(folder.trackers_file, {**_identities(folder), tracker: identity})

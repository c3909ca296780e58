"""Trackers get every number once at its step, go on after a resume, and never end a training."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runner.errors import UserError
from runner.runs import JobRecord, Record, RunFolder, Tracker, check_trackers, open_run, open_trackers

JOB = JobRecord({"name": "demo", "train": {"steps": 10}, "lora": None}, "h")
RECORDS: tuple[Record, ...] = (
    {"kind": "startup", "model": 1.5, "data": 0.5},
    {"kind": "train", "step": 1, "loss": 2.0, "grad_norm": None},
    {"kind": "event", "step": 1, "text": "the decay begins"},
    {"kind": "validation", "step": 1, "loss": 1.75},
)


def folder_in(storage: Path) -> RunFolder:
    with open_run(storage, "demo", job=JOB, resume="auto") as run:
        return run.folder


def log_all(folder: RunFolder, *names: str, step: int = 0) -> None:
    hand_on(open_trackers(names, folder, step=step))


def hand_on(tracker: Tracker) -> None:
    for record in RECORDS:
        tracker.log(record)
    tracker.close()


def test_tensorboard_reads_back_each_number_at_its_step(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = folder_in(tmp_path)
    tracker = open_trackers(["tensorboard"], folder)
    for step in range(1, 8):
        tracker.log({"kind": "train", "step": step, "loss": float(step)})
    tracker.close()
    tracker = open_trackers(["tensorboard"], folder, step=4)
    for step in range(5, 9):
        tracker.log({"kind": "train", "step": step, "loss": 10.0 * step})
    tracker.close()
    seen = EventAccumulator(str(folder.events)).Reload()
    assert seen.Tags()["scalars"] == ["train/loss"]
    points = [(event.step, event.value) for event in seen.Scalars("train/loss")]
    assert points == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 50), (6, 60), (7, 70), (8, 80)]


def test_a_tracker_that_is_not_installed_is_told_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    check_trackers(["tensorboard"])
    with pytest.raises(UserError, match=r"track names wandb, which is not installed; .*; pip install wandb"):
        open_trackers(["tensorboard", "wandb"], folder_in(tmp_path))


class FakeMlflow(ModuleType):
    """The part of MLflow that is used, kept in one list; ``broken`` makes it fail from then on."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = SimpleNamespace()  # type: ignore[assignment]  # find_spec only asks that there is one
        self.calls: list[tuple[object, ...]] = []
        self.broken = False
        self.exceptions = SimpleNamespace(MlflowException=KeyError)

    def MlflowClient(self, tracking_uri: str | None) -> "FakeMlflow":  # noqa: N802 - MLflow's own name
        self.calls.append(("client", tracking_uri))
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=name)

    def create_run(self, experiment: str, run_name: str) -> Any:
        self.calls.append(("create", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="run-1"))

    def log_param(self, run: str, key: str, value: object) -> None:
        self.calls.append(("param", run, key, value))

    def update_run(self, run: str, status: str) -> None:
        self.calls.append((status, run))

    def log_metric(self, run: str, key: str, number: float, step: int) -> None:
        if self.broken:
            raise KeyError("the server is gone")
        self.calls.append((run, key, number, step))

    def set_terminated(self, run: str) -> None:
        self.calls.append(("end", run))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return fake


def test_mlflow_gets_job_and_numbers_and_a_resume_goes_on_in_the_same_run(tmp_path: Path, mlflow: FakeMlflow) -> None:
    folder = folder_in(tmp_path)
    log_all(folder, "mlflow")
    assert mlflow.calls == [
        ("client", f"sqlite:///{tmp_path}/demo/mlflow.db"),
        ("create", "runner", "demo"),
        ("param", "run-1", "name", "demo"),
        ("param", "run-1", "train.steps", 10),
        ("param", "run-1", "lora", None),
        ("RUNNING", "run-1"),
        ("run-1", "startup/model", 1.5, 0),
        ("run-1", "startup/data", 0.5, 0),
        ("run-1", "train/loss", 2.0, 1),
        ("run-1", "validation/loss", 1.75, 1),
        ("end", "run-1"),
    ]
    log_all(folder, "mlflow", step=1)
    assert [call[0] for call in mlflow.calls].count("create") == 1


def test_mlflow_uses_the_server_that_its_own_variable_names(
    tmp_path: Path, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    log_all(folder_in(tmp_path), "mlflow")
    assert mlflow.calls[0] == ("client", None)


def test_a_tracker_that_fails_is_left_out_with_one_warning(tmp_path: Path, mlflow: FakeMlflow) -> None:
    tracker = open_trackers(["mlflow"], folder_in(tmp_path))
    mlflow.broken = True
    with pytest.warns(UserWarning, match=r"mlflow takes no more metrics: .*the server is gone") as warned:
        hand_on(tracker)
    assert len(warned) == 1


def test_wandb_gets_the_step_and_resumes_by_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def init(**options: Any) -> Any:
        calls.append((options["id"], options["resume"], options["dir"], options["config"]))
        return SimpleNamespace(
            id="wandb-1",
            define_metric=lambda name, step_metric: calls.append((name, step_metric)),
            log=calls.append,
            finish=lambda: calls.append("end"),
        )

    fake = ModuleType("wandb")
    fake.__dict__.update(init=init, Error=KeyError, Settings=dict, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "wandb", fake)
    folder = folder_in(tmp_path)
    log_all(folder, "wandb")
    assert calls == [
        (None, "allow", str(folder.root), JOB.values),
        ("*", "step"),
        {"startup/model": 1.5, "startup/data": 0.5, "step": 0},
        {"train/loss": 2.0, "step": 1},
        {"validation/loss": 1.75, "step": 1},
        "end",
    ]
    log_all(folder, "wandb", step=1)
    assert calls[6][0] == "wandb-1"

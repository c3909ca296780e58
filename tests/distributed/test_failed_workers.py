"""How a launch ends whose workers failed: what one of them raised is told, and the run's state says it too."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from ray.train import WorkerGroupError

from finished_run import small_job
from runner.config.cluster import Cluster
from runner.distributed.launch import launch
from runner.distributed.ray_session import Resources
from runner.errors import DoesNotFit, RunnerError, TrainingFailed, UserError
from runner.runs import load_run

KILLED = "worker 0 failed:\nA worker died or was killed, 4 times"
FULL = "worker 0 failed:\n[Errno 28] No space left on device"
NO_TOKEN = UserError("no token for the hub", "another machine", "set HF_TOKEN")


@pytest.mark.parametrize(
    ("met", "told", "said"),
    [
        (WorkerGroupError(KILLED, {0: RuntimeError("killed")}), TrainingFailed, "the workers failed (A worker died"),
        (WorkerGroupError(FULL, {0: OSError(FULL)}), DoesNotFit, "the disk is full (No space left on device)"),
        (WorkerGroupError(KILLED, {0: RuntimeError("a peer"), 1: NO_TOKEN}), UserError, "no token for the hub"),
        (None, TrainingFailed, "the workers ended without a word"),
    ],
    ids=["killed", "disk", "raised", "silent"],
)
def test_a_run_whose_workers_failed_says_so_in_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, met: Exception | None, told: type[RunnerError], said: str
) -> None:
    def fit(*_: object) -> None:
        if met is not None:
            raise met

    @contextmanager
    def session(_: Cluster) -> Iterator[Resources]:
        yield Resources(2, 1, 0)

    for name, fake in (("ray_session", session), ("living_nodes", list), ("fit_in_turns", fit)):
        monkeypatch.setattr(import_module("runner.distributed.launch"), name, fake)
    with pytest.raises(told) as ended:
        launch(
            small_job(name="demo"),
            Cluster(storage=str(tmp_path)),
            resume="auto",
            follow=lambda _folder, _ended: None,
            launched_at=0.0,
            cache=tmp_path / "cache",
        )
    assert type(ended.value) is told
    assert str(ended.value).startswith(said)
    summary = load_run(tmp_path, "demo").summary
    assert (summary.state, summary.reason) == ("failed", str(ended.value))
    assert summary.seconds == pytest.approx(time.time(), abs=60.0), "counted from 1970, when it was typed"

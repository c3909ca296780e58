"""What the launcher of a run in a bucket does when the bucket does not answer: it asks again, and says what it is."""

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from bucket_server import Gate
from runner.distributed.kept import check_still_ours, linked
from runner.errors import DoesNotFit
from runner.runs import STOP_FILE, JobRecord
from runner.runs.remote.opening import RemoteRun, open_remote_run
from runner.runs.remote.register import Register
from runner.runs.remote.sending import Sender
from runner.runs.remote.store import Store

URL = "s3://bucket/runs"


@pytest.fixture(autouse=True)
def _hasty(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits long."""
    assert gate.port
    monkeypatch.setattr("runner.runs.remote.patience.FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("runner.runs.remote.opening.LAST_WORDS_S", 0.5)
    monkeypatch.setattr(import_module("runner.distributed.kept"), "STOP_POLL_S", 0.1)


def opened(machine: Path) -> RemoteRun:
    return open_remote_run(URL, "demo", job=JobRecord({"name": "demo"}, "hash"), resume="auto", cache=machine)


def told() -> object:
    """The state of the run as the bucket has it."""
    return (Register(Store(f"{URL}/demo")).newest().state or {}).get("state")


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_that_a_run_is_finished_reaches_the_bucket_with_the_next_launch_here(gate: Gate, tmp_path: Path) -> None:
    with opened(tmp_path / "a") as run:
        sender = Sender(run.store, run.folder, holder=run.holder, keep=2, patience_s=10.0)  # the worker is here
        sender.begin()
        sender.finish(hurry=False)
        gate.shut()
        with pytest.raises(DoesNotFit, match="the storage has taken nothing for"):
            run.record("finished", step=30, steps=30)
    gate.open()
    assert told() == "running"
    with opened(tmp_path / "a") as run:
        assert run.status == "finished"
    assert told() == "finished"
    with opened(tmp_path / "b") as run:
        assert run.status == "finished"


def test_a_stop_asked_while_the_bucket_is_away_is_heard_when_it_is_back(gate: Gate, tmp_path: Path) -> None:
    with opened(tmp_path / "a") as run, linked(run, joined=True):
        gate.shut()
        run.folder.inside(STOP_FILE).touch()
        time.sleep(1.0)
        gate.open()
        wait(lambda: run.store.keys("stop") == [f"stop/{run.holder}"])


def test_a_bucket_that_is_gone_when_workers_elsewhere_have_ended_is_no_mistake_of_the_user(
    gate: Gate, tmp_path: Path
) -> None:
    with opened(tmp_path / "a") as run:
        check_still_ours(run)
        gate.shut()
        with pytest.raises(DoesNotFit, match="the storage has taken nothing for") as ended:
            check_still_ours(run)
    assert ended.value.exit_code == 3

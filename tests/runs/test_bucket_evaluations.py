"""Evaluations go into the bucket of their run from any machine, and come to where the run is looked at."""

import threading
from pathlib import Path

import pytest
from buckets import Trainer, keys

from runner.runs import JobRecord, RunFolder
from runner.runs.remote.evaluations import send_evaluation
from runner.runs.remote.faults import StorageFault
from runner.runs.remote.opening import open_remote_run
from runner.runs.remote.sending import Sender
from runner.runs.remote.store import Store
from runner.runs.remote.viewing import view

JOB = JobRecord({"name": "demo", "train": {"steps": 30}}, "hash")
RESULT = "evaluation.json"


@pytest.fixture
def runs(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A bucket with a run that trained on a machine of its own and stopped."""
    found = f"{url}/{abs(hash(request.node.name))}"
    train(found, tmp_path / "trainer", 10)
    return found


def train(runs: str, machine: Path, step: int) -> None:
    with open_remote_run(runs, "demo", job=JOB, resume="auto", cache=machine) as run:
        trainer = Trainer(run.folder.root)
        sender = Sender(run.store, run.folder, holder=run.holder, keep=2, patience_s=10.0)
        sender.begin()
        trainer.save(step)
        sender.finish(hurry=False)
        run.record("stopped", step=step, steps=30)


def looked_at(runs: str, machine: Path) -> RunFolder:
    """The run as a command on ``machine`` finds it."""
    return RunFolder.at(view(runs, machine, "demo"), "demo")


def evaluated(folder: RunFolder, name: str, text: str) -> None:
    """What `runner evaluate` writes, in short."""
    place = folder.inside("evaluations", name)
    place.mkdir(parents=True, exist_ok=True)
    for file in ("answers.jsonl", RESULT):
        (place / file).write_text(text)


def results(folder: RunFolder) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in folder.evaluations.glob(f"*/{RESULT}")}


def test_an_evaluation_is_seen_from_other_machines_and_the_newest_of_its_name_counts(runs: str, tmp_path: Path) -> None:
    one, other = (looked_at(runs, tmp_path / name) for name in ("one", "other"))
    evaluated(one, "held-out", "first")
    place = send_evaluation(one, "held-out")
    assert place is not None
    assert place.startswith(f"{runs}/demo/evaluations/held-out-")
    assert results(looked_at(runs, tmp_path / "other")) == {"held-out": "first"}
    evaluated(other, "held-out", "second")
    assert results(looked_at(runs, tmp_path / "other")) == {"held-out": "second"}, "made here, and not yet sent"
    send_evaluation(other, "held-out")
    send_evaluation(other, "held-out")
    assert results(looked_at(runs, tmp_path / "one")) == {"held-out": "second"}
    lying = [key for key in keys(f"{runs}/demo") if key.startswith("evaluations/")]
    assert len(lying) == 4, "three files and the register: of earlier ones nothing is left"
    train(runs, tmp_path / "trainer", 20)
    assert results(looked_at(runs, tmp_path / "one")) == {"held-out": "second"}, "training goes on beside them"


def test_evaluations_made_at_once_are_all_there(runs: str, tmp_path: Path) -> None:
    folders = [looked_at(runs, tmp_path / str(number)) for number in range(4)]
    for number, folder in enumerate(folders):
        evaluated(folder, f"suite-{number}", str(number))
    sending = [
        threading.Thread(target=send_evaluation, args=(folder, f"suite-{number}"))
        for number, folder in enumerate(folders)
    ]
    for each in sending:
        each.start()
    for each in sending:
        each.join()
    assert results(looked_at(runs, tmp_path / "another")) == {f"suite-{number}": str(number) for number in range(4)}


def test_one_that_is_damaged_on_its_way_is_not_taken(runs: str, tmp_path: Path) -> None:
    one = looked_at(runs, tmp_path / "one")
    evaluated(one, "held-out", "first")
    place = str(send_evaluation(one, "held-out"))
    Store(place).write(RESULT, b"spoilt")
    assert results(looked_at(runs, tmp_path / "other")) == {}


def test_one_of_a_run_in_a_folder_is_sent_nowhere_and_a_bucket_that_is_gone_is_told(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer(tmp_path / "plain").folder
    evaluated(plain, "held-out", "first")
    assert send_evaluation(plain, "held-out") is None
    one = looked_at(runs, tmp_path / "one")
    evaluated(one, "held-out", "first")
    for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("runner.runs.remote.store.ANSWER_S", 2.0)
    with pytest.raises(StorageFault):
        send_evaluation(one, "held-out")
    assert results(one) == {"held-out": "first"}

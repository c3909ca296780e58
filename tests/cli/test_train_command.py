"""`runner train` from words to the call of `launch`, and from every ending to its lines and exit code."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import runner.distributed
from runner import errors
from runner.config.job import Job
from runner.config.load import job_hash, load_job
from runner.distributed import Outcome
from runner.runs import JobRecord, MetricsLog, open_run
from typed import typed

Launch = Callable[..., Outcome]


def finished_run(job: Job, storage: Path) -> Outcome:
    """A folder such as a launch leaves."""
    record = JobRecord(job.model_dump(mode="json"), job_hash(job))
    with open_run(storage, job.name, job=record, resume="never") as opened:
        log = MetricsLog(opened.folder.metrics_file)
        for step in range(4):
            log.append({"kind": "validation", "step": step, "loss": 3.0 - step / 2})
        log.close()
        opened.record("finished", step=3, steps=3, reason="finished")
    return Outcome(opened.folder.root, "finished", 3)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What ``launch`` was called with; it leaves the folder of a finished run."""
    calls: list[dict[str, Any]] = []

    def launch(job: Job, cluster: Any, **options: Any) -> Outcome:
        calls.append({"job": job, "cluster": cluster, **options})
        return finished_run(job, tmp_path / "stored")

    monkeypatch.setattr(runner.distributed, "launch", launch)
    monkeypatch.setattr("runner.cli.ready.data_to_train_on", lambda job: calls.append({"prepared": job}))
    monkeypatch.setattr("runner.distributed.ray_session.usable_cores", lambda: 8)
    return calls


def test_the_options_reach_the_launch(
    capsys: pytest.CaptureFixture[str], launched: list[dict[str, Any]], tmp_path: Path
) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text("workers: 4\nmax_failures: 7\nstorage: elsewhere\n")
    words = ["--cluster", str(profile), "--workers", "2", "--storage", str(tmp_path), "--name", "mine"]
    code, out, _ = typed(capsys, "train", "-o", "train.steps=12", *words, "--resume", "must")
    assert code == 0
    prepared, call = launched
    assert prepared["prepared"] == call["job"]
    assert (call["job"].name, call["job"].train.steps, call["resume"]) == ("mine", 12, "must")
    cluster = call["cluster"]
    assert (cluster.workers, cluster.max_failures, cluster.storage) == (2, 7, str(tmp_path))
    assert "mine  finished at step 3 of 3" in out
    assert (tmp_path / "stored" / "mine" / "loss.svg").is_file()


def test_a_range_of_workers_reaches_the_launch(
    capsys: pytest.CaptureFixture[str], launched: list[dict[str, Any]]
) -> None:
    code, out, _ = typed(capsys, "train", "--workers", "2:8")
    assert code == 0
    cluster = launched[1]["cluster"]
    assert (cluster.min_workers, cluster.workers) == (2, 8)
    assert "2 to 8 workers" in out


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ("many", '--workers is "many"; the command line; give a count, or two as 2:8'),
        ("2:", '--workers is "2:"; the command line; give a count, or two as 2:8'),
        ("8:2", "min_workers is 8 and workers is 2: give at most as many"),
        ("0", "workers"),
    ],
)
def test_a_wrong_number_of_workers_is_told(
    workers: str, told: str, capsys: pytest.CaptureFixture[str], launched: list[dict[str, Any]]
) -> None:
    code, _, err = typed(capsys, "train", "--workers", workers)
    assert (code, launched) == (2, [])
    assert told in err


@pytest.mark.parametrize("command", ["train", "search"])
def test_more_than_the_machine_has_is_refused_before_data_are_prepared(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.cli.ready.data_to_train_on", lambda _: pytest.fail("data are prepared"))
    began = time.monotonic()
    code, _, err = typed(capsys, command, "--workers", "5000")
    assert time.monotonic() - began < 5
    assert code == 3
    assert "error: 5000 workers x 1 CPUs = 5000 are asked, " in err


@pytest.mark.parametrize("command", ["train", "search"])
def test_sigterm_while_data_are_prepared_ends_with_the_code_for_what_can_be_resumed(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def prepare(_: Job) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        pytest.fail("nothing came")

    monkeypatch.setattr("runner.cli.ready.data_to_train_on", prepare)
    code, _, err = typed(capsys, command)
    assert (code, err) == (75, "stopped before the first step; nothing had been trained; run it again\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_resolved_job_is_printed_as_a_file_that_runs_again(
    capsys: pytest.CaptureFixture[str], launched: list[dict[str, Any]], tmp_path: Path
) -> None:
    _, out, _ = typed(capsys, "train", "-o", "lora.rank=4", "-o", "train.tokens_per_step=4096")
    printed = out.partition("\n\n")[0]
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    assert load_job(again) == launched[1]["job"]
    assert set(yaml.safe_load(printed)) == set(Job.model_fields)
    assert "tokens a step = 16 buffers x 256 = 4,096" in out


def test_a_dry_run_launches_nothing_and_writes_no_run(
    capsys: pytest.CaptureFixture[str],
    launched: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    planned: list[tuple[Job, bool]] = []
    monkeypatch.setattr("runner.cli.plan.show_plan", lambda job, _, *, measure: planned.append((job, measure)))
    code, out, _ = typed(capsys, "train", "--dry-run")
    assert (code, launched, [measure for _, measure in planned]) == (0, [], [False])
    assert "tokens in all" in out
    assert list(tmp_path.iterdir()) == []


def test_workers_elsewhere_are_left_to_prepare_the_data_themselves(
    capsys: pytest.CaptureFixture[str], launched: list[dict[str, Any]], tmp_path: Path
) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text("address: head:6379\n")
    assert typed(capsys, "train", "--cluster", str(profile))[0] == 0
    assert [set(call) & {"prepared", "job"} for call in launched] == [{"job"}]


def test_data_that_cannot_be_read_ends_before_anything_is_launched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner.distributed, "launch", lambda *_, **__: pytest.fail("launched"))
    monkeypatch.setattr("runner.cli.ready.CACHE", tmp_path / "cache")
    page = tmp_path / "rows.jsonl"
    page.write_text("<html>Please sign in</html>")
    code, _, said = typed(capsys, "train", "-o", f"data.id={page}")
    assert code == 2
    assert "holds HTML" in said
    assert str(page) in said


@pytest.mark.parametrize(
    ("error", "code", "begins"),
    [
        (errors.UserError("w", "x", "r"), 2, "error: w; x; r"),
        (errors.DoesNotFit("w", "x", "r"), 3, "error: w; x; r"),
        (errors.TrainingFailed("w\nsecond line", "x", "r"), 4, "error: w second line; x; r"),
        (errors.Diverged("w", "x", "r"), 5, "error: w; x; r"),
        (errors.Stopped("stopped after step 3", "x", "r"), 75, "stopped after step 3; x; r"),
        (errors.Interrupted("stopped after step 3", "x", "r"), 130, "stopped after step 3; x; r"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_ending_has_its_exit_code_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, begins: str
) -> None:
    def launch(*_: object, **__: object) -> Outcome:
        raise error

    monkeypatch.setattr(runner.distributed, "launch", launch)
    monkeypatch.setattr("runner.cli.ready.data_to_train_on", lambda _: None)
    ended, _, said = typed(capsys, "train")
    assert ended == code
    assert said.strip() == begins


def test_runs_and_show_tell_what_lies_in_a_storage_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = typed(capsys, "runs", "--storage", str(tmp_path))
    assert (code, "no runs in" in out) == (0, True)
    finished_run(Job(name="first"), tmp_path)
    finished_run(Job(name="second"), tmp_path)
    _, out, _ = typed(capsys, "runs", "--storage", str(tmp_path))
    rows = {line.split()[0]: line.split() for line in out.splitlines()[1:]}
    assert set(rows) == {"first", "second"}
    assert rows["first"][1:4] == ["finished", "3/3", "1.5000"]
    _, out, _ = typed(capsys, "show", "first", "--storage", str(tmp_path))
    assert "3.0000" in out
    assert f"runner evaluate first --storage {tmp_path}" in out


def test_a_stopped_run_is_told_how_to_go_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    job = Job(name="half")
    with open_run(
        tmp_path, job.name, job=JobRecord(job.model_dump(mode="json"), job_hash(job)), resume="never"
    ) as run_:
        run_.record("stopped", step=2, steps=9, reason="SIGTERM")
    _, out, _ = typed(capsys, "show", "half", "--storage", str(tmp_path))
    assert f"runner train {tmp_path}/half/job.yaml --storage {tmp_path} --resume must" in out


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from runner.config.load import schema

    code, out, _ = typed(capsys, "schema")
    assert (code, json.loads(out)) == (0, schema())

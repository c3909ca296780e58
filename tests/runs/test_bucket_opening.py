"""Which run of a bucket a start gets: a new one, the unfinished one, the finished one; and who may look at it."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from buckets import Trainer, keys

from bucket_server import bucket
from runner.errors import UserError
from runner.report import Style, summary
from runner.report.commands import evaluate
from runner.runs import JobRecord, RunFolder, list_runs, load_run
from runner.runs.lock import RunInUse
from runner.runs.remote.layout import records_in
from runner.runs.remote.opening import RemoteRun, open_remote_run
from runner.runs.remote.receiving import News
from runner.runs.remote.sending import Sender
from runner.runs.remote.store import Store
from runner.runs.remote.viewing import view, view_all

JOB = JobRecord({"name": "demo", "train": {"steps": 30}}, "hash")
OTHER = JobRecord({"name": "demo", "train": {"steps": 40}}, "another")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bucket("s3", tmp_path_factory.mktemp("bucket")) as found:
        yield found


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    return f"{server}/{abs(hash(request.node.name))}"


def opened(url: str, machine: Path, *, resume: str = "auto", job: JobRecord = JOB) -> RemoteRun:
    return open_remote_run(url, "demo", job=job, resume=resume, cache=machine)  # type: ignore[arg-type]  # one of three


def train(run: RemoteRun, *steps: int, root: Path | None = None) -> None:
    """Save after each of ``steps``, and send it; in ``root`` where the worker is on another machine."""
    trainer = Trainer(root or run.folder.root)
    sender = Sender(run.store, trainer.folder, holder=run.holder, keep=2, patience_s=10.0)
    sender.begin()
    for step in steps:
        trainer.save(step)
        sender.saved(step)
    sender.finish(hurry=False)


def test_a_run_begins_is_gone_on_with_elsewhere_and_ends(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run demo to resume"):
        opened(url, tmp_path / "a", resume="must")
    with opened(url, tmp_path / "a") as run:
        assert run.status == "new"
        train(run, 10)
        run.record("stopped", step=10, steps=30, reason="SIGTERM")
    with opened(url, tmp_path / "b", resume="must") as run:
        assert (run.status, run.state.step) == ("resumed", 10)
        train(run, 20, 30)
        run.record("finished", step=30, steps=30, reason="finished")
    with opened(url, tmp_path / "a") as run:
        assert run.status == "finished"
    with pytest.raises(UserError, match=r"another job stands under the name demo: train.steps: 30 -> 40"):
        opened(url, tmp_path / "c", job=OTHER)
    with opened(url, tmp_path / "c", resume="never", job=OTHER) as run:
        assert (run.status, run.folder.name) == ("new", "demo-2")


def test_of_starts_at_once_on_machines_of_their_own_one_gets_the_name_and_never_gives_each_a_name(
    url: str, tmp_path: Path
) -> None:
    got, refused, ready = list[RemoteRun](), list[RunInUse](), threading.Barrier(4)

    def start(number: int, resume: str) -> None:
        ready.wait()
        try:
            got.append(opened(url, tmp_path / str(number), resume=resume))
        except RunInUse as error:
            refused.append(error)

    for resume, runs in (("auto", 1), ("never", 4)):
        starts = [threading.Thread(target=start, args=(number, resume)) for number in range(4)]
        for one in starts:
            one.start()
        for one in starts:
            one.join()
        assert (len(got), len(refused)) == (runs, 4 - runs)
        assert len({run.folder.name for run in got}) == runs
        for run in got:
            run.close()
        got.clear()
        refused.clear()


def test_a_run_that_is_trained_elsewhere_is_seen_with_its_holder_and_not_disturbed(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path / "a") as run:
        train(run, 10)
        (summary,) = list_runs(view_all(url, tmp_path / "b"))
        assert (summary.name, summary.state, summary.step) == ("demo", "running", 10)
        loaded = load_run(view(url, tmp_path / "b", "demo", with_folders=("best",)), "demo")
        assert loaded.holder is not None
        assert str(loaded.holder) == str(run.claim.holder)
        assert (loaded.folder.best / "adapter.bin").read_text() == "best of 10"
        (run.folder.root / "metrics.jsonl").write_text("newer than what was sent\n")
        view_all(url, tmp_path / "a")
        assert run.folder.metrics_file.read_text() == "newer than what was sent\n"
        run.record("stopped", step=10, steps=30, reason="SIGTERM")
    (summary,) = list_runs(view_all(url, tmp_path / "b"))
    assert (summary.state, summary.reason) == ("stopped", "SIGTERM")
    with pytest.raises(UserError, match=r"there is no run other; .*the runs there: demo"):
        view(url, tmp_path / "b", "other")


def test_a_launcher_whose_worker_is_elsewhere_ends_with_all_its_records_and_names_the_bucket(
    url: str, tmp_path: Path
) -> None:
    with opened(url, tmp_path / "launcher") as run:
        assert evaluate(run.folder).text == f"runner evaluate demo --storage {url}", "from the beginning"
        news = News(run.store, run.folder, before=run.claim.entry.attempt)
        news.start()
        elsewhere = tmp_path / "worker" / "demo"
        train(run, 10, 20, root=elsewhere)
        news.stop()
        run.record("finished", step=20, steps=20, reason="finished")
        records = records_in(RunFolder(elsewhere))
        assert len(records) > 1
        for path in records:
            assert (run.folder.root / path.relative_to(elsewhere)).read_bytes() == path.read_bytes()
        told = summary(load_run(run.folder.root.parent, "demo"), Style())
    assert f"in {url}/demo, and on this machine in {run.folder.root}" in told
    assert evaluate(run.folder).text == f"runner evaluate demo --storage {url}"


def test_a_run_that_the_bucket_has_no_more_is_kept_aside_here_and_begun_anew(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path / "a") as run:
        train(run, 10)
    root = run.folder.root.parent
    Store(url).delete(keys(url))
    assert list_runs(view_all(url, tmp_path / "a")) == ()
    (aside,) = root.glob(".aside/demo-*")
    assert (aside / "checkpoints" / "step-000010" / "state.json").is_file()
    with opened(url, tmp_path / "a") as run:
        assert run.status == "new"
        assert not run.folder.checkpoints.exists()


def test_a_copy_that_was_removed_is_brought_again(url: str, tmp_path: Path) -> None:
    with opened(url, tmp_path / "a") as run:
        train(run, 10, 20)
    shutil.rmtree(run.folder.root)
    with opened(url, tmp_path / "a") as run:
        assert run.status == "resumed"
        train(run)
        assert Trainer(run.folder.root).store.newest_valid().step == 20

"""A run sent to its bucket: killed, overtaken or cut off at any operation, no half checkpoint is ever taken for one."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from buckets import STAMP, Objects, Trainer, keys

from bucket_server import BUCKET, Gate
from runner.errors import DoesNotFit
from runner.runs import CheckpointStore, RunFolder, StaleAttempt, read_metrics, verified
from runner.runs.remote.bringing import bring_folder, bring_newest_checkpoint, bring_records
from runner.runs.remote.faults import Unreachable
from runner.runs.remote.layout import step_of
from runner.runs.remote.receiving import News, Receiver
from runner.runs.remote.register import Entry, Holder, Register
from runner.runs.remote.sending import Sender
from runner.runs.remote.store import Store

A, B = (Holder(name, f"host-{name}", 1, "2026", name) for name in "ab")


@pytest.fixture
def run(url: str, request: pytest.FixtureRequest) -> Store:
    return Store(f"{url}/run-{abs(hash(request.node.name))}")


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent in the background: ``finish`` sends, so that operations can be counted."""
    monkeypatch.setattr(Sender, "_keep_sending", lambda _: None)


class Killed(BaseException):
    """As far as files and objects go, kill -9."""


class Doomed(Store):
    """Calls ``fate`` before, or ``after``, the operation number ``at`` that changes something."""

    def __init__(self, store: Store, at: int, fate: Callable[[], None], *, after: bool = False) -> None:
        super().__init__(store.url, store._system)
        self.at, self._fate, self._after = at, fate, after

    def _asked(self, name: str, *arguments: Any, seconds: float | None = None, **options: Any) -> Any:
        self.at -= (changes := name in ("pipe_file", "put_file", "rm_file"))
        fated = changes and self.at == 0
        if fated and not self._after:
            self._fate()
        answer = super()._asked(name, *arguments, seconds=seconds, **options)
        if fated and self._after:
            self._fate()
        return answer


def kill() -> None:
    raise Killed


def lose_the_answer() -> None:
    raise Unreachable("the storage does not answer")


def hold(run: Store, holder: Holder) -> None:
    Register(run).advance(lambda entry: replace(entry, holder=holder))


def sender(store: Store, trainer: Trainer, holder: Holder = A, *, patience_s: float = 30.0) -> Sender:
    return Sender(store, trainer.folder, holder=holder.identity, keep=2, patience_s=patience_s)


def send(store: Store, trainer: Trainer, *steps: int, holder: Holder = A) -> None:
    """A launch that saves after each of ``steps`` and waits until it is sent."""
    sending = sender(store, trainer, holder)
    sending.begin()
    for step in steps:
        trainer.save(step)
        sending.saved(step)
        sending._pass()
    sending.finish(hurry=False)


def brought(store: Store, root: Path) -> tuple[int, Entry]:
    """The step from which another machine goes on, all its files looked at."""
    shutil.rmtree(root, ignore_errors=True)
    folder = RunFolder(root.resolve())
    entry = Register(store).newest()
    bring_records(store, entry, folder)
    assert bring_newest_checkpoint(store, entry, folder) == (), "what is published is whole"
    found = Trainer(root).store.newest_valid()
    assert found.skipped == ()
    if found.path is not None:
        assert (found.path / "state.json").read_text() == f"state.json after {found.step}"
        steps = [record["step"] for record in read_metrics(folder.metrics_file)]
        assert found.step in steps, "the records of the steps before a checkpoint are there when it is"
    for name in entry.folders:
        bring_folder(store, entry, folder, name)
        verified(folder.inside(*name.split("/")))
    if (folder.root / "best").is_dir():
        best = verified(folder.best).step
        assert found.step <= best, "the best that a checkpoint knows of is there"
        assert (folder.best / "adapter.bin").read_text() == f"best of {best}"
    return found.step, entry


@pytest.mark.usefixtures("by_hand")
def test_sent_kept_pruned_and_brought_elsewhere(run: Store, tmp_path: Path) -> None:
    hold(run, A)
    trainer = Trainer(tmp_path / "a")
    send(run, trainer, 10, 20, 30)
    step, entry = brought(run, tmp_path / "elsewhere")
    assert step == 30
    assert sorted(name for name in entry.folders if step_of(name) >= 0) == [
        "checkpoints/step-000020",
        "checkpoints/step-000030",
    ], "as many as are kept here"
    here, there = (
        sorted(read_metrics(root / "metrics.jsonl"), key=str) for root in (trainer.folder.root, tmp_path / "elsewhere")
    )
    assert here == there
    lying = {key.split("/")[1] for key in keys(run) if key.startswith(("checkpoints/", "best/"))}
    assert lying == {Path(place).name for place in entry.folders.values()}, "nothing else lies there"


@pytest.mark.slow
@pytest.mark.usefixtures("by_hand")
def test_killed_at_any_operation_no_half_checkpoint_is_taken_and_the_next_start_clears_up(tmp_path: Path) -> None:
    ended, steps_found, at = False, set[int](), 0
    while not ended:
        at += 1
        run, here = Store("s3://memory/run", Objects()), tmp_path / f"{at}-here"
        hold(run, A)
        send(run, Trainer(here), 10)
        done = 10
        try:
            sending, trainer = sender(Doomed(run, at, kill), Trainer(here)), Trainer(here)
            sending.begin()
            for step in (20, 30, 40):
                trainer.save(step)
                sending.saved(step)
                sending._pass()
                done = step
            sending.finish(hurry=False)
            ended = True
        except Killed:
            pass
        step, _ = brought(run, tmp_path / "elsewhere")
        assert step >= done, "what was sent once is not lost"
        steps_found.add(step)
        hold(run, B)
        send(run, Trainer(tmp_path / f"{at}-there"), 50, holder=B)
        step, entry = brought(run, tmp_path / "elsewhere")
        assert step == 50
        lying = {"/".join(key.split("/")[:2]) for key in keys(run) if not key.startswith("register/")}
        assert lying - {f"records/{entry.attempt}"} == set(entry.folders.values()), "no litter"
    assert steps_found == {10, 20, 30, 40}
    assert at > 40


@pytest.mark.slow
@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("other", [A, B], ids=["by its own launch", "by another"])
def test_overtaken_at_any_operation_the_dead_one_publishes_nothing_and_breaks_nothing(
    tmp_path: Path, other: Holder
) -> None:
    """It sleeps before an operation, another worker takes the run, goes on and saves; then it wakes and goes on."""
    at, woken = 0, 0
    while True:
        at += 1
        run, here = Store("s3://memory/run", Objects()), tmp_path / f"{at}-here"
        hold(run, A)
        send(run, Trainer(here), 10)
        after = list[Entry]()

        def overtake(run: Store = run, at: int = at, after: list[Entry] = after) -> None:
            hold(run, other)
            send(run, Trainer(tmp_path / f"{at}-there"), 35, 36, holder=other)
            after.append(Register(run).newest())

        dead = Doomed(run, at, overtake)
        try:
            send(dead, Trainer(here), 20, 30)
        except StaleAttempt:
            woken += 1
        if dead.at > 0:
            break
        _, entry = brought(run, tmp_path / "elsewhere")
        assert entry == after[0], "nothing that it did afterwards holds"
        assert f"records/{entry.attempt}/metrics.jsonl" in keys(run)
    assert woken > 25
    assert at > woken, "asleep while it tidied up it had nothing more to publish"


@pytest.mark.usefixtures("by_hand")
def test_a_damaged_or_missing_object_of_a_checkpoint_is_noticed_and_the_one_before_is_taken(
    run: Store, tmp_path: Path
) -> None:
    hold(run, A)
    send(run, Trainer(tmp_path / "a"), 10, 20)
    entry = Register(run).newest()
    place = entry.folders["checkpoints/step-000020"]
    optimizer, manifest = f"{place}/optimizer.bin", f"{place}/MANIFEST.json"
    whole = run.read(optimizer)
    for key, spoilt in (
        (optimizer, whole[:-1] + b"?"),
        (optimizer, whole[:-3]),
        (optimizer, None),
        (manifest, b"{}"),
        (manifest, None),
    ):
        if spoilt is None:
            run.delete([key])
        else:
            run.write(key, spoilt)
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        other = Trainer(tmp_path / "b")
        (skipped,) = bring_newest_checkpoint(run, entry, other.folder)
        assert skipped.startswith("checkpoints/step-000020 of ")
        assert other.store.newest_valid().step == 10


@pytest.mark.usefixtures("by_hand")
def test_what_was_not_sent_is_sent_by_the_next_launch_here_and_forgotten_where_another_went_on(
    run: Store, tmp_path: Path
) -> None:
    hold(run, A)
    trainer = Trainer(tmp_path / "a")
    send(run, trainer, 10)
    trainer.save(20)  # the machine is cut off, and the process dies
    assert brought(run, tmp_path / "elsewhere")[0] == 10
    send(run, Trainer(tmp_path / "a"))
    assert brought(run, tmp_path / "elsewhere")[0] == 20
    trainer.save(30)
    hold(run, B)
    send(run, Trainer(tmp_path / "b"), 25, holder=B)
    hold(run, A)
    send(run, again := Trainer(tmp_path / "a"))
    assert again.store.newest_valid().step == 25
    assert [record["step"] for record in read_metrics(again.folder.metrics_file)][-1] == 25


@pytest.mark.slow
@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("fate", [kill, lose_the_answer])
def test_what_lies_here_alone_outlives_a_start_that_is_killed_or_gets_no_answer_after_any_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fate: Callable[[], None]
) -> None:
    monkeypatch.setattr("runner.runs.remote.patience.FIRST_PAUSE_S", 0.01)
    at, ended = 0, False
    while not ended:
        at += 1
        run, here = Store("s3://memory/run", Objects()), tmp_path / str(at)
        hold(run, A)
        send(run, trainer := Trainer(here), 10)
        trainer.save(20)
        trainer.save(30)  # neither could be sent
        doomed = Doomed(run, at, fate, after=True)
        with suppress(Killed):
            sending = sender(doomed, Trainer(here))
            sending.begin()
            sending.finish(hurry=False)
        ended = doomed.at > 0
        send(run, again := Trainer(here))
        assert again.store.newest_valid().step == 30, f"lost after operation {at}"
        assert brought(run, tmp_path / "elsewhere")[0] == 30
    assert at > 20


@pytest.mark.usefixtures("by_hand")
def test_a_rank_on_another_machine_gets_the_checkpoint_that_was_chosen(run: Store, tmp_path: Path) -> None:
    hold(run, A)
    trainer = Trainer(tmp_path / "a")
    send(run, trainer, 10, 20)
    folder = RunFolder((tmp_path / "b").resolve())
    folder.root.mkdir()
    receiver = Receiver(run, folder, patience_s=5.0)
    receiver.resumed(-1)
    assert not folder.checkpoints.exists()
    receiver.resumed(10)
    assert verified(folder.checkpoints / "step-000010").step == 10
    damaged = folder.checkpoints / "step-000010" / "state.json"
    damaged.write_text("spoilt")
    receiver.resumed(10)
    assert damaged.read_text() == "state.json after 10"


@pytest.mark.usefixtures("by_hand")
def test_a_launcher_hears_of_a_writing_rank_elsewhere_and_leaves_one_at_its_side_alone(
    run: Store, tmp_path: Path
) -> None:
    hold(run, A)
    send(run, Trainer(tmp_path / "a"), 10)
    before = Register(run).newest().attempt
    driver = RunFolder((tmp_path / "driver").resolve())
    driver.root.mkdir()
    News(run, driver, before=before)._look()
    assert not driver.metrics_file.exists(), "that is an earlier launch's"
    trainer = Trainer(tmp_path / "a")
    send(run, trainer, 20)
    news = News(run, driver, before=before)
    news._look()
    assert [record["step"] for record in read_metrics(driver.metrics_file)] == [10, 20]
    trainer.folder.metrics_file.write_text("newer than what was sent")
    News(run, trainer.folder, before=before)._look()
    assert trainer.folder.metrics_file.read_text() == "newer than what was sent"


@pytest.fixture
def gate(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Nothing waits long before it tries again."""
    for constant, seconds in (("FIRST_PAUSE_S", 0.1), ("LONGEST_PAUSE_S", 0.3)):
        monkeypatch.setattr(f"runner.runs.remote.patience.{constant}", seconds)
        monkeypatch.setattr(f"runner.runs.remote.sending.{constant}", seconds)
    monkeypatch.setattr("runner.runs.remote.sending.RECORDS_S", 0.2)
    return gate


def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_is_gone_for_a_while_holds_up_no_save_and_gets_everything_in_the_end(
    gate: Gate, tmp_path: Path
) -> None:
    run = Store(f"s3://{BUCKET}/run")
    hold(run, A)
    trainer = Trainer(tmp_path / "a")
    sending = sender(run, trainer)
    sending.begin()
    trainer.save(10)
    sending.saved(10)
    wait(lambda: "checkpoints/step-000010" in Register(run).newest().folders)
    gate.shut()
    slowest = 0.0
    for step in (20, 30, 40, 50):
        trainer.save(step)
        began = time.monotonic()
        sending.saved(step)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.4)
        assert not sending.must_stop()
    assert slowest < 0.2, "saving waits for nobody"
    held = len(list((trainer.folder.root / ".outgoing").iterdir()))
    assert held <= 3, "one on its way, one that waits, a best: the disk does not fill"
    gate.open()
    sending.finish(hurry=False)
    assert brought(run, tmp_path / "elsewhere")[0] == 50
    assert not list((trainer.folder.root / ".outgoing").iterdir())


def cut_off(gate: Gate, root: Path, *, patience_s: float) -> tuple[Store, Trainer, Sender]:
    """A run whose server is gone before the checkpoint of step 10 is sent."""
    run, trainer = Store(f"s3://{BUCKET}/run"), Trainer(root)
    hold(run, A)
    sending = sender(run, trainer, patience_s=patience_s)
    sending.begin()
    gate.shut()
    trainer.save(10)
    sending.saved(10)
    return run, trainer, sending


def test_a_server_that_is_gone_for_good_ends_the_run_with_everything_kept_here(gate: Gate, tmp_path: Path) -> None:
    run, trainer, sending = cut_off(gate, tmp_path / "a", patience_s=1.0)
    wait(sending.must_stop)
    trainer.save(20)
    with pytest.raises(DoesNotFit, match=r"taken nothing for .*everything is kept in .*/a; mend it") as told:
        sending.finish(hurry=True)
    assert told.value.exit_code == 3
    assert trainer.store.newest_valid().step == 20
    gate.open()
    send(run, Trainer(tmp_path / "a"))
    assert brought(run, tmp_path / "elsewhere")[0] == 20


def test_a_stopped_run_waits_for_no_server_that_is_gone(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.runs.remote.sending.HURRY_S", 1.0)
    _, _, sending = cut_off(gate, tmp_path / "a", patience_s=3600.0)
    began = time.monotonic()
    with pytest.raises(DoesNotFit, match="what was not sent is sent then"):
        sending.finish(hurry=True)
    assert time.monotonic() - began < 15


def test_a_launcher_elsewhere_stops_the_run_through_the_bucket(gate: Gate, tmp_path: Path) -> None:
    run = Store(f"s3://{BUCKET}/run")
    hold(run, A)
    trainer = Trainer(tmp_path / "a")
    (trainer.folder.root / ".driver").write_text("someone of an earlier launch")
    sending = sender(run, trainer)
    sending.begin()
    stop_file = trainer.folder.root / "stop-requested"
    time.sleep(1.0)
    assert not stop_file.exists()
    run.write(f"stop/{A.identity}", b"")
    wait(stop_file.exists)
    sending.finish(hurry=True)
    assert gate.port


def test_the_stamp_is_what_the_store_of_checkpoints_looks_at(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "a")
    trainer.save(10)
    other = CheckpointStore(trainer.folder.checkpoints, keep=2, stamp={"job": "another"}, attempt=trainer.attempt)
    assert other.newest_valid().path is None
    assert CheckpointStore(trainer.folder.checkpoints, keep=2, stamp=STAMP, attempt=trainer.attempt).newest_valid().path

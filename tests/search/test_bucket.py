"""A search kept in a bucket: lost with its machine and gone on with on another, held by one, refused, cut off."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bucket_server import Gate
from runner.errors import DoesNotFit, UserError
from runner.runs import JobRecord
from runner.runs.lock import RunInUse
from runner.runs.remote.claim import TakenOver
from runner.runs.remote.opening import open_remote_run
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store
from runner.runs.remote.viewing import view
from runner.search.bucket import BucketSearch, is_kept, open_kept_search
from runner.search.conclusion import conclude
from runner.search.journal import Journal, read_journal
from runner.search.records import Study
from runner.search.space import Space
from search_fakes import course, run, space, without_times

URL = "s3://bucket/searches"
ALONE = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from runner.search.bucket import open_kept_search
from search_fakes import course, run, space
found = space(Path(sys.argv[2]))
opened = open_kept_search(sys.argv[3], found, resume=False, cache=Path(sys.argv[2]), patience_s=60.0)
run(course(found, opened.journal, told=lambda _: opened.grown()), rungs=9)
print("measured", flush=True)
time.sleep(600)
"""


def opened_on(machine: Path, found: Space, *, resume: bool, patience_s: float = 60.0) -> BucketSearch:
    """The search as it is opened on a machine, which has a cache of its own."""
    opened = open_kept_search(URL, found, resume=resume, cache=machine, patience_s=patience_s)
    assert isinstance(opened, BucketSearch)
    return opened


def searched(found: Space, opened: BucketSearch, *, rungs: int | None = None) -> Study:
    return run(course(found, opened.journal, told=lambda _: opened.grown()), rungs=rungs)


def sent(run: Store) -> bytes:
    """The journal as the bucket has it."""
    try:
        return run.read(f"records/{Register(run).newest().attempt}/journal.jsonl")
    except FileNotFoundError:
        return b""


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def bucket(request: pytest.FixtureRequest) -> None:
    """``URL`` is a bucket of a server on this machine, behind a gate where the test has one."""
    request.getfixturevalue("gate" if "gate" in request.fixturenames else "s3_port")


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Path]:
    """The cache of a machine of this name."""

    def made(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        return tmp_path / name

    return made


def test_killed_with_its_machine_it_goes_on_on_another_with_the_answer_of_one_left_alone(
    tmp_path: Path, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = space(tmp_path)
    with Journal(tmp_path / "alone") as journal:
        expected = run(course(found, journal))
    words = [sys.executable, "-c", ALONE, str(Path(__file__).parents[1]), str(machine("a")), URL]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "measured\n"
        (journal_file,) = machine("a").glob("remote/*/small/journal.jsonl")
        wait_until(lambda: sent(Store(f"{URL}/small")) == journal_file.read_bytes())
        with pytest.raises(RunInUse, match=f"the run small is in use by process {child.pid} "):
            opened_on(machine("b"), found, resume=True)
        child.send_signal(signal.SIGKILL)
    before = read_journal(journal_file)
    assert sum(event["kind"] == "rung" for event in before) == 9
    monkeypatch.setattr("runner.runs.remote.claim.STALE_S", 2.0)
    time.sleep(3.5)  # the clock of the store may count whole seconds
    with pytest.raises(UserError, match="the search small is unfinished"):
        opened_on(machine("b"), found, resume=False)
    with opened_on(machine("b"), found, resume=True) as opened:
        assert tuple(opened.journal.events) == before
        study = searched(found, opened)
        answer = conclude(opened.folder, found, study)
        opened.record("finished", done=12, trials=12)
    assert without_times(study) == without_times(expected)
    brought = view(URL, machine("c"), "small") / "small"
    names = ("journal.jsonl", "answer.json", "best.yaml", "search.html", "search.yaml", "job.yaml", "state.json")
    for name in names:
        assert (brought / name).read_bytes() == opened.folder.inside(name).read_bytes(), name
    with opened_on(machine("c"), found, resume=False) as again:
        assert again.finished
        assert again.place == f"{URL}/small"
        assert conclude(again.folder, found, study) == answer
    assert is_kept(URL, "small")
    assert not is_kept(URL, "smaller")
    with pytest.raises(UserError, match="there is no search other to resume"):
        opened_on(machine("c"), space(tmp_path, name="other"), resume=True)


def test_one_taken_for_dead_stops_and_publishes_nothing_more(
    tmp_path: Path, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = space(tmp_path, name="overtaken")
    monkeypatch.setattr("runner.runs.remote.claim.STALE_S", 2.5)
    monkeypatch.setattr("runner.runs.remote.claim.BEAT_S", 0.3)
    first = opened_on(machine("a"), found, resume=False)
    searched(found, first, rungs=3)
    wait_until(lambda: sent(first.store) == first.folder.journal_file.read_bytes())
    monkeypatch.setattr(first.claim, "_beat", lambda: None)
    time.sleep(4.5)
    with opened_on(machine("b"), found, resume=True) as second:
        study = searched(found, second, rungs=2)
        wait_until(lambda: first.must_stop)
        searched(found, first, rungs=4)
        with pytest.raises(TakenOver, match="taken over by process"):
            first.record("stopped", done=1, trials=12)
        first.close()
        second.record("stopped", done=1, trials=12)
        assert sent(second.store) == second.folder.journal_file.read_bytes()
        assert second.folder.journal_file.read_bytes() != first.folder.journal_file.read_bytes()
    with opened_on(machine("a"), found, resume=True) as third:
        assert tuple(third.journal.events) == read_journal(second.folder.journal_file), (
            "what it measured in vain is given up"
        )
        assert without_times(course(found, third.journal).study) == without_times(study)


def test_a_bucket_that_answers_no_more_ends_the_search_with_everything_here_and_gets_it_later(
    gate: Gate, tmp_path: Path, machine: Callable[[str], Path]
) -> None:
    found = space(tmp_path)
    with opened_on(machine("a"), found, resume=False, patience_s=3.0) as opened:
        searched(found, opened, rungs=2)
        wait_until(lambda: sent(opened.store) == opened.folder.journal_file.read_bytes())
        assert not opened.must_stop
        gate.shut()
        searched(found, opened, rungs=3)
        wait_until(lambda: opened.must_stop)
        with pytest.raises(DoesNotFit, match="the storage has taken nothing for"):
            opened.record("stopped", done=1, trials=12)
    gate.open()
    measured = read_journal(opened.folder.journal_file)
    with opened_on(machine("a"), found, resume=True) as opened:
        assert tuple(opened.journal.events) == measured
        wait_until(lambda: sent(opened.store) == opened.folder.journal_file.read_bytes())


def test_a_run_and_a_search_of_one_name_do_not_touch_each_other(tmp_path: Path, machine: Callable[[str], Path]) -> None:
    job = JobRecord({"name": "small"}, "a-hash")
    with open_remote_run(URL, "small", job=job, resume="auto", cache=machine("a")):
        pass
    with pytest.raises(UserError, match=r"it is no search|another search"):
        opened_on(machine("b"), space(tmp_path), resume=False)
    with open_remote_run(URL, "small", job=job, resume="must", cache=machine("c")) as again:
        assert again.status == "resumed"
    with opened_on(machine("a"), space(tmp_path, name="mine"), resume=False):
        pass
    with pytest.raises(UserError, match="another job stands under the name mine"):
        open_remote_run(URL, "mine", job=job, resume="auto", cache=machine("b"))
    with opened_on(machine("c"), space(tmp_path, name="mine"), resume=True) as search:
        assert not search.finished

"""A run of a bucket is held by one process between machines; a dead one is known by its silence, or by its lock."""

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from buckets import keys

from runner.runs.lock import RunInUse
from runner.runs.remote.claim import Claim, TakenOver
from runner.runs.remote.store import Store

HOLD = """
import sys
from pathlib import Path
from runner.runs.remote.claim import Claim
from runner.runs.remote.store import Store
claim = Claim(Store(sys.argv[1]), Path(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(url: str, request: pytest.FixtureRequest) -> str:
    return f"{url}/run-{abs(hash(request.node.name))}"


def machine(tmp_path: Path, name: str) -> Path:
    """The lock file of a machine: no two machines share one."""
    return tmp_path / name


def test_the_second_machine_learns_who_holds_the_run_and_gets_it_when_it_is_let_go(run: str, tmp_path: Path) -> None:
    first = Claim(Store(run), machine(tmp_path, "a"))
    told = r"the run run-\d+ is in use by process \d+ on \S+ since 20\S+, last heard of \d+ s ago; .*try again in \d+ s"
    with pytest.raises(RunInUse, match=told):
        Claim(Store(run), machine(tmp_path, "b"))
    first.change(lambda entry: replace(entry, attempt="of the first"))
    first.release()
    first.release()
    assert not keys(f"{run}/heartbeats")
    second = Claim(Store(run), machine(tmp_path, "b"))
    assert second.entry.attempt == "of the first"
    second.release()


def test_of_six_machines_that_start_at_once_one_proceeds(run: str, tmp_path: Path) -> None:
    got, refused, ready = list[Claim](), list[RunInUse](), threading.Barrier(6)

    def start(name: str) -> None:
        store = Store(run)
        ready.wait()
        try:
            got.append(Claim(store, machine(tmp_path, name)))
        except RunInUse as error:
            refused.append(error)

    starts = [threading.Thread(target=start, args=(str(number),)) for number in range(6)]
    for one in starts:
        one.start()
    for one in starts:
        one.join()
    (claim,) = got
    assert len(refused) == 5
    assert all(str(claim.holder) in str(error) for error in refused)
    claim.release()


@pytest.mark.parametrize("here", [True, False])
def test_a_holder_killed_is_no_hindrance_on_its_machine_and_elsewhere_until_it_is_stale(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    words = [sys.executable, "-c", HOLD, run, str(machine(tmp_path, "a"))]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(RunInUse, match=f"process {child.pid} "):
        Claim(Store(run), machine(tmp_path, "a" if here else "b"))
    child.send_signal(signal.SIGKILL)
    child.wait()
    if here:
        Claim(Store(run), machine(tmp_path, "a")).release()
        return
    with pytest.raises(RunInUse, match=f"process {child.pid} "):
        Claim(Store(run), machine(tmp_path, "b"))
    monkeypatch.setattr("runner.runs.remote.claim.STALE_S", 2.0)
    time.sleep(3.5)  # the clock of the store may count whole seconds
    Claim(Store(run), machine(tmp_path, "b")).release()


def test_a_heartbeat_keeps_the_run_and_one_that_stopped_loses_it_and_changes_nothing_more(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.runs.remote.claim.STALE_S", 2.5)
    monkeypatch.setattr("runner.runs.remote.claim.BEAT_S", 0.3)
    first = Claim(Store(run), machine(tmp_path, "a"))
    time.sleep(4.0)
    with pytest.raises(RunInUse):
        Claim(Store(run), machine(tmp_path, "b"))
    asleep = threading.Event()
    monkeypatch.setattr(first, "_beat", lambda: asleep.wait())
    time.sleep(4.5)
    second = Claim(Store(run), machine(tmp_path, "b"))
    with pytest.raises(TakenOver, match=f"taken over by process .* since {second.holder.since.replace('+', '.')}"):
        first.change(lambda entry: replace(entry, attempt="of the dead"))
    asleep.set()
    deadline = time.monotonic() + 20
    while not first.lost:
        assert time.monotonic() < deadline, "it notices by itself"
        time.sleep(0.05)
    first.release()
    assert second.register.newest().holder == second.holder, "its release lets nobody else in"
    assert second.register.newest().attempt == ""
    second.release()


def test_a_start_that_fails_to_claim_leaves_no_lock_behind(run: str, tmp_path: Path) -> None:
    first = Claim(Store(run), machine(tmp_path, "a"))
    for _ in range(2):
        with pytest.raises(RunInUse, match="last heard of"):
            Claim(Store(run), machine(tmp_path, "b"))
    assert len(keys(f"{run}/heartbeats")) == 1
    first.release()

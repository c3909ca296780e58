"""The register of a run in a bucket: of writers at once one gets through, and whoever was overtaken changes nothing."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from buckets import keys

from runner.runs.remote.faults import Unreachable
from runner.runs.remote.register import Entry, Register
from runner.runs.remote.store import Store


@pytest.fixture
def run(url: str, request: pytest.FixtureRequest) -> str:
    return f"{url}/{abs(hash(request.node.name))}"


def test_no_change_of_writers_at_once_is_lost(run: str) -> None:
    def write(writer: int) -> None:
        register = Register(Store(run))
        for turn in range(5):
            register.advance(lambda entry, turn=turn: replace(entry, folders={**entry.folders, f"{writer}-{turn}": ""}))  # type: ignore[misc]  # mypy cannot see through a default

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    entry = Register(Store(run)).newest()
    assert len(entry.folders) == 20
    assert entry.number == 20
    assert len(keys(f"{run}/register")) <= 4, "older ones are removed"


def test_what_a_change_raises_is_raised_and_nothing_is_changed(run: str) -> None:
    def refuse(_entry: Entry) -> Entry:
        raise ValueError("no")

    register = Register(Store(run))
    with pytest.raises(ValueError, match="no"):
        register.advance(refuse)
    assert register.newest() == Entry()


class Sleeper(Store):
    """Sleeps before it creates: others go on meanwhile."""

    def create(self, key: str, content: bytes) -> bool:
        others, self.others = getattr(self, "others", 0), 0
        for turn in range(others):
            Register(Store(self.url)).advance(lambda entry, turn=turn: replace(entry, attempt=f"other {turn}"))  # type: ignore[misc]  # as above
        return super().create(key, content)


@pytest.mark.parametrize("others", [1, 2, 6])
def test_a_writer_that_slept_fills_no_number_that_others_left_behind(
    run: str, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.runs.remote.register.HISTORY", 4)
    Register(Store(run)).advance(lambda entry: replace(entry, attempt="first"))
    store, seen = Sleeper(run), list[str]()
    store.others = others

    def change(entry: Entry) -> Entry:
        seen.append(entry.attempt)
        return replace(entry, folders={"of": "the sleeper"})

    Register(store).advance(change)
    assert seen == ["first", f"other {others - 1}"], "it is asked again, with what holds since"
    newest = Register(Store(run)).newest()
    assert (newest.attempt, dict(newest.folders)) == (f"other {others - 1}", {"of": "the sleeper"})


class Forgetful(Store):
    """Creates, and never hears that it did."""

    def create(self, key: str, content: bytes) -> bool:
        super().create(key, content)
        raise Unreachable("the answer was lost")


def test_a_change_whose_answer_was_lost_holds_and_may_be_made_again(run: str) -> None:
    with pytest.raises(Unreachable):
        Register(Forgetful(run)).advance(lambda entry: replace(entry, attempt="mine"))
    assert Register(Store(run)).newest().attempt == "mine"
    Register(Store(run)).advance(lambda entry: replace(entry, attempt="mine"))
    assert Register(Store(run)).newest().number == 2


def test_an_answer_that_another_was_quicker_is_not_believed_where_it_was_oneself(
    run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that asks again after a lost answer is told that the object is there: by its own first try."""
    create = Store.create
    monkeypatch.setattr(Store, "create", lambda self, key, content: create(self, key, content) and False)
    Register(Store(run)).advance(lambda entry: replace(entry, attempt="mine"))
    assert (Register(Store(run)).newest().attempt, Register(Store(run)).newest().number) == ("mine", 1)


def test_the_same_object_is_made_once(run: str, tmp_path: Path) -> None:
    store = Store(run)
    assert store.create("x", b"1")
    assert not store.create("x", b"2")
    assert store.read("x") == b"1"
    store.get("x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"1"
    store.put(tmp_path / "x", "deeper/down/y")
    assert store.keys("deeper") == ["deeper/down/y"]
    assert store.names() == ["deeper", "x"]
    store.delete(["x", "never was there"])
    with pytest.raises(FileNotFoundError):
        store.read("x")
    assert store.modified("deeper/down/y").tzinfo is not None

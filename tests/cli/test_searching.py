"""What a running search shows: lines where there is no terminal, one table in its place where there is."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runner.cli import searching
from runner.cli.searching import STOPPING, Searching
from runner.search.folder import SearchFolder
from runner.search.journal import Journal
from runner.search.records import LostRepeat, Study
from runner.search.space import Space
from search_fakes import course, run, space


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "POLL_S", 0.0)


@pytest.fixture
def found(tmp_path: Path) -> Space:
    return space(tmp_path, repeats=1, trials=4)


@pytest.fixture
def studies(found: Space, tmp_path: Path) -> list[Study]:
    """The study after each event."""
    seen: list[Study] = []
    with Journal(tmp_path / "j") as journal:
        run(course(found, journal, told=seen.append))
    assert len(seen) > 10
    return seen


def one_after_the_other(studies: list[Study]) -> tuple[Callable[[], Study], Callable[[], bool]]:
    """``study`` and ``ended`` for ``follow``: each call of ``ended`` goes on by one."""
    left: Iterator[Study] = iter(studies)
    now = [next(left)]

    def ended() -> bool:
        now[0] = next(left, now[0])
        return now[0] is studies[-1]

    return (lambda: now[0]), ended


def test_each_measurement_is_a_line_and_told_once(found: Space, studies: list[Study], tmp_path: Path) -> None:
    stream = io.StringIO()
    study, ended = one_after_the_other([Study((), 0.0, ()), *studies])
    Searching(found, stream).follow(SearchFolder(tmp_path), study, ended)
    lines = stream.getvalue().splitlines()
    last = studies[-1]
    measured = sum(len(trial.rungs) for trial in last.trials)
    held_back = {(t.number, t.why) for study in studies for t in study.trials if t.ending == "stopped"}
    assert len(held_back) >= sum(trial.ending == "stopped" for trial in last.trials) > 0
    assert len(lines) == measured + len(held_back) + len(last.repeats) == len(set(lines))
    assert lines[0].startswith("trial   0  rank 2, learning rate 0.003637  stop step     20  loss 2.5191")
    assert any("held back: of 3 at step 20 1 may go on so far, and 2 were better" in line for line in lines)
    assert any("again with seed 18  loss" in line for line in lines)


def test_a_repeat_that_was_lost_is_a_line(found: Space, studies: list[Study], tmp_path: Path) -> None:
    lost = LostRepeat(0, 19, 160, True, "diverged", "the loss is not finite")
    stream = io.StringIO()
    study, ended = one_after_the_other([studies[-1], replace(studies[-1], lost=(lost,))])
    Searching(found, stream).follow(SearchFolder(tmp_path), study, ended)
    assert stream.getvalue() == "trial   0 again with seed 19  diverged: the loss is not finite\n"


def test_what_an_earlier_start_measured_is_not_told_again(found: Space, studies: list[Study], tmp_path: Path) -> None:
    stream = io.StringIO()
    study, ended = one_after_the_other([studies[-1], studies[-1]])
    Searching(found, stream).follow(SearchFolder(tmp_path), study, ended)
    assert stream.getvalue() == ""


def test_a_terminal_sees_one_table_drawn_over_itself(found: Space, studies: list[Study], tmp_path: Path) -> None:
    stream = Terminal()
    live = tmp_path / "live"
    live.mkdir()
    (live / "trial-3").write_text("77")
    study, ended = one_after_the_other(studies[:3])
    Searching(found, stream).follow(SearchFolder(tmp_path), study, ended)
    tables = stream.getvalue().split("\x1b[J")
    assert len(tables) >= 2
    assert all(table.count("\n") == tables[0].count("\n") for table in tables[1:-1])
    assert "of 4 trials tried" in tables[-1]
    assert "best " in tables[-1]


def test_a_request_to_stop_is_answered(found: Space, studies: list[Study], tmp_path: Path) -> None:
    stream = io.StringIO()
    (tmp_path / "stop-requested").touch()
    study, ended = one_after_the_other(studies[:2])
    Searching(found, stream).follow(SearchFolder(tmp_path), study, ended)
    assert stream.getvalue().splitlines()[0] == STOPPING

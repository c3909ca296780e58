"""A trial's process: one base for many tasks, every error told in its kind, a stop noticed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from small_trials import small_job

from runner.config.job import Job
from runner.errors import Diverged, DoesNotFit, UserError
from runner.search.course import Task
from runner.search.journal import Journal
from runner.search.records import Rung
from runner.search.waiting import Waiting
from runner.search.worker import STOP_LOOK_S, AnyBase, Place, Report, TrialWorker, report_of
from search_fakes import QUESTION_TOKENS, course, rung, space


@dataclass(frozen=True)
class Parked:
    stop_step: int
    job: Job
    nbytes: int = 2  # with what it has kept on its way
    cut: bool = False

    def tip(self) -> "Parked":
        return replace(self, nbytes=1, cut=True)


class Base:
    """A base whose trunk does what ``behave`` does at a stop step."""

    question_tokens, base_loss = QUESTION_TOKENS, 4.0

    def __init__(self, behave: Callable[[int], None]) -> None:
        self.behave = behave
        self.started: list[Job] = []
        self.went_on: list[Parked | None] = []
        self.suits = True

    def why_not(self, job: Job) -> str | None:
        return None if self.suits else f"not for {job.name}"

    def start(
        self,
        job: Job,
        *,
        warmup_steps: int,
        parked: "Parked | None" = None,
        passing: Sequence[int] = (),
        stable: Sequence[int] = (),
    ) -> "Base":
        assert warmup_steps == 5
        self.started.append(job)
        self.went_on.append(parked)
        self.passing, self.stable = tuple(passing), tuple(stable)
        return self

    def park(self) -> "Parked":
        return Parked(self.measured, self.started[-1])

    def to_rung(self, stop_step: int, progress: Callable[[int], None] | None = None) -> Rung:
        if progress is not None:
            progress(stop_step)
        self.behave(stop_step)
        self.measured = stop_step
        task = Task("t", 0, None, self.started[-1].model_dump(mode="json"), (), 5, 8)
        return rung(task, stop_step)


def tasks(folder: Path, count: int) -> list[Task]:
    with Journal(folder / "j") as journal:
        running = course(space(folder), journal)
        return [task for task in (running.next() for _ in range(count)) if isinstance(task, Task)]


def worker(folder: Path, behave: Callable[[int], None] = lambda _: None) -> tuple[TrialWorker, list[Base]]:
    bases: list[Base] = []

    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        assert job.lora is not None
        assert (largest_rank, place.threads) == (8, 1)
        bases.append(Base(behave))
        return bases[-1]

    place = Place(str(folder), str(folder / "stop"), str(folder / "cache"), 1, 0.0)
    return TrialWorker(place, load), bases


def test_trials_follow_each_other_on_one_base(tmp_path: Path) -> None:
    working, bases = worker(tmp_path)
    first, second = tasks(tmp_path, 2)
    for task in (first, second):
        working.begin(task)
        for stop_step in task.stop_steps[:2]:
            report = working.advance()
            assert report.rung == asdict(rung(task, stop_step))
            assert (report.base_loss, report.question_tokens) == (4.0, QUESTION_TOKENS)
    assert len(bases) == 1
    assert bases[0].started == [Job.model_validate(dict(task.job)) for task in (first, second)]


def test_a_trial_goes_on_where_it_waited_and_begins_anew_what_lies_before(tmp_path: Path) -> None:
    working, bases = worker(tmp_path)
    first, second = tasks(tmp_path, 2)
    for task in (first, second):
        working.begin(task)
        working.advance()
    working.begin(replace(first, stop_steps=first.stop_steps[1:]))
    assert working.advance().kind == "rung"
    (base,) = bases
    assert base.went_on[2] == Parked(first.stop_steps[0], base.started[0], nbytes=1, cut=True)
    working.begin(replace(first, seed=18, stop_steps=first.stop_steps[2:]))
    working.advance()
    assert base.went_on[3:] == [None]


def test_the_best_keeps_what_it_passed_by_until_another_is_the_best(tmp_path: Path) -> None:
    working, bases = worker(tmp_path)
    first, second = tasks(tmp_path, 2)
    alone = replace(first, stop_steps=(80,), passing=(20, 40), best=1, stable=(40,))
    working.begin(alone)
    working.advance()
    (base,) = bases
    assert (base.passing, base.stable) == ((20, 40), (40,))
    whole = Parked(80, base.started[0])
    working.begin(replace(second, best=0))
    working.advance()
    working.begin(replace(first, stop_steps=(20, 40), best=0))
    working.advance()
    assert base.went_on == [None, None, whole]
    working.begin(alone)  # had 40 left: it waits, and is not the best now
    working.advance()
    assert base.went_on[3] == replace(whole, stop_step=20).tip()
    working.begin(second)  # ended, and is not the best
    working.advance()
    working.begin(alone)
    working.advance()
    assert base.went_on[5] is None


def test_a_trial_that_ended_in_an_error_waits_nowhere(tmp_path: Path) -> None:
    failing: list[Exception] = []

    def behave(_: int) -> None:
        if failing:
            raise failing.pop()

    working, bases = worker(tmp_path, behave)
    first, second = tasks(tmp_path, 2)
    working.begin(first)
    working.advance()
    failing.append(Diverged("loss not finite"))
    working.advance()
    working.begin(second)
    working.advance()
    working.begin(replace(first, stop_steps=first.stop_steps[2:]))
    working.advance()
    assert bases[0].went_on == [None, None, None]


def test_kept_trials_take_no_more_than_their_room() -> None:
    waiting, job = Waiting(room=4), small_job()
    for trial in range(3):
        waiting.keep(trial, Parked(20, job))
    waiting.keep(1, Parked(40, job))
    assert waiting.take(0) is None
    waiting.cut_all_but(2)
    waiting.keep(3, Parked(20, job).tip())
    assert waiting.take(1) == Parked(40, job).tip()
    assert waiting.take(1) is None
    assert waiting.take(2) == Parked(20, job)
    assert waiting.take(3) == Parked(20, job).tip()


def test_a_base_that_does_not_suit_is_replaced(tmp_path: Path) -> None:
    working, bases = worker(tmp_path)
    first, second = tasks(tmp_path, 2)
    working.begin(first)
    working.advance()
    bases[0].suits = False
    working.begin(second)
    assert working.advance().kind == "rung"
    assert len(bases) == 2


@pytest.mark.parametrize(
    ("error", "ending", "keeps_base"),
    [
        (Diverged("loss not finite"), "diverged", True),
        (DoesNotFit("too large"), "infeasible", False),
        (torch.OutOfMemoryError("CUDA out of memory"), "infeasible", False),
        (UserError("no such data", "data.id", "name another"), "failed", False),
        (TypeError("a mistake"), "failed", False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_ends_the_trial_in_its_kind_and_the_next_one_runs(
    tmp_path: Path, error: Exception, ending: str, keeps_base: bool
) -> None:
    failing = [True]

    def behave(_: int) -> None:
        if failing:
            raise error

    working, bases = worker(tmp_path, behave)
    first, second = tasks(tmp_path, 2)
    working.begin(first)
    report = working.advance()
    assert (report.kind, report.ending) == ("end", ending)
    assert str(error).split(";")[0] in report.why
    failing.clear()
    working.begin(second)
    assert working.advance().kind == "rung"
    assert len(bases) == (1 if keeps_base else 2)


def test_an_error_of_ours_travels_with_its_kind_and_parts(tmp_path: Path) -> None:
    def behave(_: int) -> None:
        raise UserError("no such data", "data.id", "name another")

    working, _ = worker(tmp_path, behave)
    working.begin(tasks(tmp_path, 1)[0])
    report = working.advance()
    assert report.error == ("UserError", "no such data", "data.id", "name another")
    assert report_of(asdict(report)) == report


def test_an_unknown_error_is_left_to_those_who_start_processes(tmp_path: Path) -> None:
    def behave(_: int) -> None:
        raise RuntimeError("the device is gone")

    working, _ = worker(tmp_path, behave)
    working.begin(tasks(tmp_path, 1)[0])
    with pytest.raises(RuntimeError, match="gone"):
        working.advance()


def test_the_step_reached_is_told_and_a_request_to_stop_is_noticed(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    live = tmp_path / "live"
    working, _ = worker(tmp_path, lambda _: seen.extend((path.name, path.read_text()) for path in live.iterdir()))
    (task,) = tasks(tmp_path, 1)
    working.begin(task)
    assert working.advance().kind == "rung"
    assert seen == [("trial-0", "20")]
    assert not list(live.iterdir())
    time.sleep(STOP_LOOK_S)
    (tmp_path / "stop").touch()
    assert working.advance() == Report("cut")
    assert len(seen) == 1


def test_a_report_without_an_error_travels(tmp_path: Path) -> None:
    working, _ = worker(tmp_path)
    working.begin(tasks(tmp_path, 1)[0])
    report = working.advance()
    travelled = report_of(asdict(report))
    assert replace(travelled, rung=None) == replace(report, rung=None)


@pytest.mark.parametrize(("name", "error"), [("live", None), ("error.log", LookupError("no such layer"))])
def test_a_trial_writes_through_no_link(tmp_path: Path, name: str, error: Exception | None) -> None:
    def behave(_: int) -> None:
        if error is not None:
            raise error

    folder, outside = tmp_path / "s", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    working, _ = worker(folder, behave)
    (task,) = tasks(folder, 1)
    working.begin(task)
    (folder / name).symlink_to(outside if name == "live" else outside / name)
    with pytest.raises(UserError, match="leads out of the run's folder"):
        working.advance()
    assert list(outside.iterdir()) == []

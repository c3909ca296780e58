"""The course: stopped anywhere and gone on with it gives the same answer; nothing runs twice; what ends a search."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from runner.config.job import Job
from runner.errors import TrainingFailed, UserError
from runner.plan import Device
from runner.search.choice import best_trials, standings
from runner.search.course import Course, Task, task_as_plain, task_of
from runner.search.journal import Journal, read_journal, study_in
from runner.search.legs import refining_from
from runner.search.noise import noise_of
from runner.search.pairs import pairs_of
from runner.search.records import LostRepeat, Measured, Study, Trial
from search_fakes import BASE_LOSS, QUESTION_TOKENS, course, run, rung, space, without_times

STOP_STEPS = (20, 40, 80, 160)


def whole(folder: Path, **changes: object) -> Study:
    folder.mkdir(exist_ok=True)
    found = space(folder, **changes)
    with Journal(folder / "whole") as journal:
        return run(course(found, journal))


def test_a_search_ends_with_all_trials_and_the_repeats_of_the_best_two(tmp_path: Path) -> None:
    study = whole(tmp_path, repeats=3)
    assert [trial.number for trial in study.trials] == list(range(12))
    assert {trial.ending for trial in study.trials} == {"finished", "stopped"}
    assert all(160 in measured_by(trial) for trial in study.trials if trial.ending == "finished")
    assert measured_by(best_trials(study, "validation")[0]) == set(STOP_STEPS)
    best = best_trials(study, "validation")[:2]
    expected = [(trial.number, seed, 160) for trial in best for seed in (18, 19, 20)]
    assert [(repeat.trial, repeat.seed, repeat.rung.stop_step) for repeat in study.repeats] == expected


def without_decay(task: Task, stop_step: int, loss: float) -> Measured:
    found = rung(task, stop_step)
    return Measured(stop_step, loss, None, loss, found.question_sums)


def test_each_stop_step_is_measured_once_without_a_decay(tmp_path: Path) -> None:
    """The first of four trials is the best: it waits on its way, and what it measured is not asked for again."""
    found = space(tmp_path, trials=4)
    asked: dict[str, list[tuple[int, ...]]] = {}
    with Journal(tmp_path / "j") as journal:
        running = course(found, journal)
        while isinstance(task := running.next(), Task):
            running.based(BASE_LOSS, QUESTION_TOKENS)
            asked.setdefault(task.name, []).append(task.stable)
            for stop_step in task.stop_steps:
                on_the_way = tuple(without_decay(task, stop, 9.0) for stop in task.stable if stop < stop_step)
                if not running.measured(task, replace(rung(task, stop_step), loss=task.trial + 1.0, stable=on_the_way)):
                    break
    assert asked["trial-0"][0] == (20, 40, 80)
    assert len(asked["trial-0"]) > 1
    assert asked["trial-0"][-1] == ()


def test_the_best_is_repeated_as_it_ended(tmp_path: Path) -> None:
    """The lowest loss is at 40 without a decay: so are its repeats."""
    found = space(tmp_path, trials=1, repeats=1, scheduler="none", stop_steps=[40, 80])
    with Journal(tmp_path / "j") as journal:
        running = course(found, journal)
        task = running.next()
        assert isinstance(task, Task)
        running.based(BASE_LOSS, QUESTION_TOKENS)
        running.measured(task, rung(task, 40))
        assert not running.measured(task, replace(rung(task, 80), stable=(without_decay(task, 40, 0.5),)))
        repeat = running.next()
        assert isinstance(repeat, Task)
        assert (repeat.seed, repeat.stop_steps, repeat.stable) == (18, (40,), ())
        job = Job.model_validate(dict(repeat.job))
        assert (job.train.schedule, job.train.seed) == ("constant", 18)
        assert not running.measured(repeat, replace(rung(repeat, 40), loss=0.6))
        assert running.next() == "over"


def reached(study: Study) -> Counter[int]:
    return Counter(found.stop_step for trial in study.trials for found in trial.rungs)


def measured_by(trial: Trial) -> set[int]:
    return {found.stop_step for found in trial.rungs}


@pytest.mark.parametrize(("trials", "at_once"), [(12, 1), (12, 3), (7, 2), (1, 1), (2, 1)])
def test_as_many_go_on_as_was_told_beforehand_and_no_pair_is_measured_twice(
    tmp_path: Path, trials: int, at_once: int
) -> None:
    found = space(tmp_path, trials=trials, reduction_factor=3)
    with Journal(tmp_path / "j") as journal:
        study = run(course(found, journal), at_once=at_once, order=(0, 1, 1, 0, 2))
        events = journal.events
    completed = best_trials(study, "validation")[0]
    assert measured_by(completed) == set(STOP_STEPS)
    first = [trial for trial in study.trials if trial.number < refining_from(found.search)]
    last = [trial for trial in study.trials if trial not in first]
    assert sum(20 in measured_by(trial) for trial in first) == found.reached()[20]
    assert all(measured_by(trial) == {160} for trial in last if trial != completed)
    assert found.reached()[160] <= reached(study)[160] <= found.reached()[160] + 1  # the best needs no place
    pairs = [(event["trial"], event["stop_step"]) for event in events if event["kind"] == "rung"]
    assert len(set(pairs)) == len(pairs)


def test_the_best_at_every_halving_step_went_on(tmp_path: Path) -> None:
    """A late trial that promises more than those before it finds a place, however many worse ones went on."""
    for seed in range(8):
        (tmp_path / str(seed)).mkdir()
        found = space(tmp_path / str(seed), seed=seed, trials=11)
        with Journal(tmp_path / str(seed) / "j") as journal:
            study = run(course(found, journal))
        for stop_step in (20, 40):
            best = min(standings(study, found.search, stop_step), key=lambda each: each.loss)
            assert best.has_gone_on


def test_few_measure_more_than_the_halving_steps_and_their_own(tmp_path: Path) -> None:
    studies = [whole(tmp_path / str(seed), seed=seed, sampler="random") for seed in range(4)]
    others = [trial for study in studies for trial in study.trials if trial != best_trials(study, "validation")[0]]
    assert Counter(trial.ending for trial in others) == {"stopped": 4 * 9, "finished": 4 * 2}
    for trial in others:
        assert measured_by(trial) <= {20, 40, 160, trial.stop_step}
        assert (trial.ending == "stopped") == ("may go on so far" in trial.why)
    assert any(80 in measured_by(trial) for trial in others)


def test_a_trial_held_back_goes_on_later_and_its_costs_add_up(tmp_path: Path) -> None:
    study = whole(tmp_path, trials=6)
    events = read_journal(tmp_path / "whole")
    anew = [event["trial"] for event in events if event["kind"] == "on" and event["anew"]]
    assert anew
    for number in anew:
        own = [event for event in events if event["kind"] == "rung" and event["trial"] == number]
        rungs = study.trials[number].rungs
        assert [found.stop_step for found in rungs] == [event["stop_step"] for event in own]
        totals = [found.trained_tokens for found in rungs]
        assert totals == sorted(totals)
        assert totals[-1] > own[-1]["trained_tokens"]


def test_a_trial_that_ends_otherwise_while_it_completes_its_curve_is_left_as_it_is(tmp_path: Path) -> None:
    running = course(space(tmp_path, trials=1), Journal(tmp_path / "j"))
    study = run(running, rungs=4)
    assert [found.stop_step for found in study.trials[0].rungs] == [20, 40, 160, 80]
    running = course(space(tmp_path, trials=1), Journal(tmp_path / "k"))
    run(running, rungs=3)
    task = running.next()
    assert isinstance(task, Task)
    assert task.stop_steps == (80,)
    assert not running.is_over
    running.ended(task, "diverged", "loss not finite")
    assert running.next() == "over"
    assert running.is_over


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 12},
        {"repeats": 1, "trials": 7, "reduction_factor": 3},
        {"sampler": "random", "scheduler": "none", "trials": 4},
    ],
)
def test_killed_after_any_measurement_and_gone_on_with_it_gives_the_same(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    expected = whole(tmp_path, **changes)
    found = space(tmp_path, **changes)
    rungs = sum(len(trial.rungs) for trial in expected.trials) + len(expected.repeats)
    assert rungs > 12
    for killed_after in range(rungs):
        path = tmp_path / f"killed-{killed_after}"
        with Journal(path) as journal:
            run(course(found, journal), rungs=killed_after)
        with Journal(path) as journal:
            before = study_in(journal.events)
            study = run(course(found, journal))
        assert without_times(study) == without_times(expected)
        ended = [trial.number for trial in before.trials if trial.ending]
        begun_again = [event["trial"] for event in read_journal(path) if event["kind"] == "again"]
        assert not set(ended) & set(begun_again)
        assert len(begun_again) == len(before.trials) - len(ended)


def test_the_last_are_drawn_when_all_others_are_at_rest_and_run_side_by_side(tmp_path: Path) -> None:
    found = space(tmp_path, trials=48)
    with Journal(tmp_path / "j") as journal:
        study = run(course(found, journal), at_once=2, order=(0, 1, 1))
        events = journal.events
    begun = next(place for place, event in enumerate(events) if event.get("number") == 46)
    after = [event["trial"] for event in events[begun:] if event["kind"] == "rung"]
    best = best_trials(study, "validation")[0].number
    assert set([trial for trial in after if trial != best or trial >= 46][:2]) == {46, 47}
    assert set(after) <= {46, 47, best}
    first = next(place for place, event in enumerate(events) if event["kind"] == "rung" and event["trial"] == 46)
    assert any(event.get("number") == 47 for event in events[begun:first])


def test_killed_with_two_at_once_runs_both_again_with_their_values(tmp_path: Path) -> None:
    found = space(tmp_path, scheduler="none")
    path = tmp_path / "journal"
    with Journal(path) as journal:
        before = run(course(found, journal), at_once=2, rungs=9, order=(0, 1, 1))
    running = {trial.number: trial.values for trial in before.trials if trial.ending is None}
    assert len(running) == 2
    with Journal(path) as journal:
        study = run(course(found, journal), at_once=2)
    events = read_journal(path)
    assert Counter(event["number"] for event in events if event["kind"] == "trial") == Counter(range(12))
    assert {event["trial"] for event in events if event["kind"] == "again"} == set(running)
    assert {number: study.trials[number].values for number in running} == running
    assert all(trial.ending for trial in study.trials)
    measured = [(event["trial"], event["stop_step"]) for event in events if event["kind"] == "rung"]
    twice = {trial for trial, stop_step in measured if measured.count((trial, stop_step)) > 1}
    assert len(twice) > 0
    assert twice <= set(running)


def test_more_trials_may_be_asked_of_a_finished_search(tmp_path: Path) -> None:
    few, more = whole(tmp_path, trials=6, scheduler="none"), space(tmp_path, trials=12, scheduler="none")
    with Journal(tmp_path / "whole") as journal:
        study = run(course(more, journal))
    assert without_times(study).trials[:6] == without_times(few).trials
    assert without_times(study) == without_times(whole(tmp_path / ".", trials=12, scheduler="none"))


def test_what_does_not_fit_ends_without_being_handed_out(tmp_path: Path) -> None:
    found = space(tmp_path, space={"lora.rank": {"choices": [8, 1024]}}, trials=8)
    with Journal(tmp_path / "j") as journal:
        running = course(found, journal, Device("cuda", "a small card", 0.1))
        study = run(running)
    endings = {int(str(trial.values["lora.rank"])): trial.ending for trial in study.trials}
    assert endings[1024] == "infeasible"
    assert endings[8] in ("finished", "stopped")
    unfit = [trial for trial in study.trials if trial.ending == "infeasible"]
    assert all("a small card has 0.1 GiB free" in trial.why and not trial.rungs for trial in unfit)
    # adapters are made as large as fits, not as the space says
    with Journal(tmp_path / "k") as journal:
        task = course(found, journal, Device("cuda", "a small card", 0.1)).next()
    assert isinstance(task, Task)
    assert task.largest_rank == 256


def begun(folder: Path, **changes: object) -> tuple[Course, Task]:
    running = course(space(folder, **changes), Journal(folder / "begun"))
    task = running.next()
    assert isinstance(task, Task)
    return running, task


def test_a_trial_whose_process_dies_begins_anew_and_counts_once(tmp_path: Path) -> None:
    running, task = begun(tmp_path, scheduler="none")
    assert running.measured(task, rung(task, 20))
    assert running.measured(task, rung(task, 40))
    for stop_step in task.stop_steps[:-1]:
        assert running.measured(task, rung(task, stop_step))
    assert not running.measured(task, rung(task, task.stop_steps[-1]))
    after = running.study.trials[0]
    assert after.rungs == tuple(rung(task, stop_step) for stop_step in task.stop_steps)
    assert after.ending == "finished"
    assert study_in(read_journal(tmp_path / "begun")) == running.study


def test_a_diverged_trial_is_one_of_many_and_a_users_mistake_ends_the_search(tmp_path: Path) -> None:
    running, task = begun(tmp_path)
    running.ended(task, "diverged", "loss not finite")
    second = running.next()
    assert isinstance(second, Task)
    running.ended(second, "failed", "no such data", UserError("no such data"))
    assert isinstance(running.failure, UserError)
    assert running.next() == "over"


def test_three_failures_in_a_row_end_the_search_and_two_do_not(tmp_path: Path) -> None:
    running, task = begun(tmp_path)
    for fails in (True, True, False, True, True, True):
        assert not isinstance(running.failure, TrainingFailed)
        if fails:
            running.ended(task, "failed", "a TypeError")
        else:
            for stop_step in task.stop_steps:
                if not running.measured(task, rung(task, stop_step)):
                    break
        following = running.next()
        if isinstance(following, Task):
            task = following
    assert isinstance(running.failure, TrainingFailed)
    assert "3 trials in a row failed" in str(running.failure)


def test_repeats_wait_for_trials_that_still_run(tmp_path: Path) -> None:
    running, first = begun(tmp_path, trials=2, repeats=1, scheduler="none")
    second = running.next()
    assert isinstance(second, Task)
    assert running.next() == "wait"
    for task in (first, second):
        for stop_step in task.stop_steps:
            running.measured(task, rung(task, stop_step))
    repeats = [running.next(), running.next()]
    assert [task.name for task in repeats if isinstance(task, Task)] in (
        ["trial-0-seed-18", "trial-1-seed-18"],
        ["trial-1-seed-18", "trial-0-seed-18"],
    )
    assert running.next() == "wait"
    for repeat in repeats:
        assert isinstance(repeat, Task)
        assert repeat.job["train"]["seed"] == 18  # type: ignore[index,call-overload]  # a section is a mapping
        running.measured(repeat, rung(repeat, repeat.stop_steps[0]))
    assert running.next() == "over"


def to_the_repeats(folder: Path) -> tuple[Course, Task]:
    """A search of two trials, and the first of their repeats."""
    with Journal(folder / "j") as journal:
        run(course(space(folder, trials=2), journal))
    running = course(space(folder, trials=2, repeats=1), Journal(folder / "j"))
    repeat = running.next()
    assert isinstance(repeat, Task)
    assert repeat.seed == 18
    return running, repeat


@pytest.mark.parametrize("ending", ["diverged", "infeasible"])
def test_a_repeat_that_diverges_or_does_not_fit_is_lost_and_the_search_goes_on(
    tmp_path: Path, ending: Literal["diverged", "infeasible"]
) -> None:
    running, repeat = to_the_repeats(tmp_path)
    running.ended(repeat, ending, "why it did")
    assert running.failure is None
    lost = LostRepeat(repeat.trial, 18, repeat.stop_steps[0], True, ending, "why it did")
    assert running.study.lost == (lost,)
    assert not running.is_over
    again = course(space(tmp_path, trials=2, repeats=1), Journal(tmp_path / "j"))
    assert again.study == running.study
    other = running.next()
    assert other == again.next()
    assert isinstance(other, Task)
    assert (other.trial, other.seed) == (1 - repeat.trial, 18)
    running.measured(other, rung(other, other.stop_steps[0]))
    assert running.next() == "over"
    assert running.is_over


def test_a_repeat_that_fails_ends_the_search(tmp_path: Path) -> None:
    running, repeat = to_the_repeats(tmp_path)
    running.ended(repeat, "failed", "a TypeError")
    assert isinstance(running.failure, TrainingFailed)
    assert not running.study.lost
    assert running.next() == "over"


def run_with_less_without_a_decay(running: Course) -> Study:
    """To the end; a later trial gives more, the same at every stop step, but 3 nats less without a decay."""
    while isinstance(task := running.next(), Task):
        running.based(BASE_LOSS, QUESTION_TOKENS)
        loss = task.trial + 5.0 + (0.0 if task.seed is None else 0.01)
        for stop_step, before in zip(task.stop_steps, (0, *task.stop_steps), strict=False):
            by = tuple(without_decay(task, stop, loss - 3.0) for stop in task.stable if before < stop < stop_step)
            found = replace(rung(task, stop_step), loss=loss if task.decayed else loss - 3.0, stable=by)
            if not running.measured(task, found):
                break
    return running.study


def test_what_was_repeated_with_a_decay_is_repeated_again_where_it_gives_less_without(tmp_path: Path) -> None:
    """The second of two is held back and repeated; of eight it goes on."""
    changes: dict[str, object] = {"repeats": 1, "stop_steps": [20, 40]}
    with Journal(tmp_path / "j") as journal:
        few = run_with_less_without_a_decay(course(space(tmp_path, trials=2, **changes), journal))
        more = run_with_less_without_a_decay(course(space(tmp_path, trials=8, **changes), journal))
    told = [(repeat.trial, repeat.rung.stop_step, repeat.decayed) for repeat in more.repeats]
    assert told == [(0, 20, False), (1, 20, True), (1, 20, False)]
    assert few.repeats == more.repeats[:2]
    noise = noise_of(more, pairs_of(more, "validation"), "validation")
    assert noise is not None
    assert noise.deviation == pytest.approx(0.01 / math.sqrt(2))


def test_asking_whether_all_is_run_begins_nothing(tmp_path: Path) -> None:
    found = space(tmp_path, repeats=1)
    with Journal(tmp_path / "j") as journal:
        cut = course(found, journal)
        run(cut, rungs=3)
        before = len(journal.events)
        assert not cut.is_over
        assert len(journal.events) == before
    with Journal(tmp_path / "j") as journal:
        assert not course(found, journal).is_over
        run(course(found, journal))
    with Journal(tmp_path / "j") as journal:
        assert course(found, journal).is_over


def test_an_objective_that_no_answer_has_tokens_for_is_told(tmp_path: Path) -> None:
    running, task = begun(tmp_path, objective="think")
    assert not running.measured(task, rung(task, 20))
    assert "no think tokens" in str(running.failure)


def test_another_set_of_held_out_questions_is_noticed(tmp_path: Path) -> None:
    running, _ = begun(tmp_path)
    assert running.based(4.0, (3, 5))
    assert running.based(4.0, (3, 5))
    assert not running.based(4.0, (3, 6))


def test_a_task_travels_as_plain_values(tmp_path: Path) -> None:
    _, task = begun(tmp_path)
    assert task_of(task_as_plain(task)) == task

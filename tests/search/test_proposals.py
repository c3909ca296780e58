"""Proposals: what Optuna is told of each trial, and that the same records give the same values."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from runner.search.choice import best_trials
from runner.search.course import Course, Task
from runner.search.journal import Journal
from runner.search.proposals import NEAR, STARTUP_TRIALS, loss_of, propose, study_of
from runner.search.records import Rung, Study, Trial
from runner.search.space import STOP_STEP, Space, numbers_of
from runner.search.unit import to_unit
from search_fakes import BASE_LOSS, QUESTION_TOKENS, course, run, rung, space

RATE = "train.learning_rate"
RANKS = {"lora.rank": {"choices": [2, 4, 8, 16]}}


def measured(folder: Path, *, at_once: int, seed: int = 0, **changes: object) -> tuple[Space, Study]:
    """A search whose ``at_once`` running trials measure in a random order."""
    found = space(folder, **changes)
    order = [random.Random(seed).randrange(at_once) for _ in range(200)]
    with Journal(folder / f"journal-{at_once}-{seed}") as journal:
        return found, run(course(found, journal), at_once=at_once, order=order)


def pairs(trials: list[FrozenTrial]) -> dict[tuple[object, ...], float | None]:
    return {(t.user_attrs["trial"], t.params[STOP_STEP]): t.value for t in trials if t.state is TrialState.COMPLETE}


@pytest.mark.parametrize(("at_once", "seed"), [(1, 0), (2, 0), (2, 1), (3, 2)])
def test_every_stored_pair_is_right_in_whatever_order_trials_end(tmp_path: Path, at_once: int, seed: int) -> None:
    found, study = measured(tmp_path, at_once=at_once, seed=seed, trials=14)
    stored = study_of(found.distributions, study.trials, "validation").trials
    expected = {(trial.number, rung.stop_step): rung.loss for trial in study.trials for rung in trial.rungs}
    assert len(expected) > 20
    assert pairs(stored) == expected
    for seen in stored:
        trial = study.trials[seen.user_attrs["trial"]]
        assert {key: seen.params[key] for key in trial.values} == trial.values


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_proposed_trial_is_told_its_own_stop_step_or_pruned(tmp_path: Path, at_once: int) -> None:
    found, study = measured(tmp_path, at_once=at_once, trials=14)
    stored = study_of(found.distributions, study.trials, "validation").trials
    own = [next(t for t in stored if t.user_attrs["trial"] == trial.number) for trial in study.trials]
    for trial, told in zip(study.trials, own, strict=True):
        assert told.params[STOP_STEP] == trial.stop_step
        reached = {rung.stop_step: rung.loss for rung in trial.rungs}
        assert told.value == reached.get(trial.stop_step)
        assert told.state is (TrialState.COMPLETE if trial.stop_step in reached else TrialState.PRUNED)
    assert {told.state for told in own} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_trial_on_its_way_is_running_and_its_rungs_are_known(tmp_path: Path) -> None:
    found = space(tmp_path, scheduler="none")
    with Journal(tmp_path / "j") as journal:
        study = run(course(found, journal), rungs=2)
    trial = replace(study.trials[0], stop_step=160)
    first, *others = study_of(found.distributions, [trial], "validation").trials
    assert (first.state, first.value, first.params[STOP_STEP]) == (TrialState.RUNNING, None, 160)
    assert [other.params[STOP_STEP] for other in others] == [20, 40]


def test_infeasible_trials_break_the_constraint_and_failed_ones_are_left_out(tmp_path: Path) -> None:
    found = space(tmp_path)
    values = {"lora.rank": 2, "train.learning_rate": 1e-2}
    trials = [Trial(0, values, 20, 0.0, ending="infeasible"), Trial(1, values, 20, 0.0, ending="failed")]
    (stored,) = study_of(found.distributions, trials, "validation").trials
    assert stored.state is TrialState.PRUNED
    assert stored.constraints == {"memory": 1.0}


def test_what_diverged_is_not_tried_again_and_again(tmp_path: Path) -> None:
    found, limit = space(tmp_path, trials=24), 6e-3
    with Journal(tmp_path / "j") as journal:
        running = course(found, journal)
        while not isinstance(task := running.next(), str):
            train = task.job["train"]
            assert isinstance(train, dict)
            assert running.based(BASE_LOSS, QUESTION_TOKENS)
            if float(str(train["learning_rate"])) > limit:
                running.ended(task, "diverged", "the loss is not finite")
            else:
                measured_all(running, task)
    rates = [float(trial.values[RATE]) for trial in running.study.trials]
    assert sum(rate > limit for rate in rates[:STARTUP_TRIALS]) >= 3, "the even start has met the edge"
    assert sum(rate > limit for rate in rates[STARTUP_TRIALS:]) <= 4


def measured_all(running: Course, task: Task) -> None:
    """The task as it is measured until it ends or is held back."""
    for stop_step in task.stop_steps:
        if not running.measured(task, rung(task, stop_step)):
            return


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_records_seed_and_number_give_the_same_values(tmp_path: Path, sampler: str) -> None:
    found, study = measured(tmp_path, at_once=2, sampler=sampler)
    again = [propose(found, study.trials, 12) for _ in range(3)]
    assert again[0] == again[1] == again[2]
    assert propose(found, study.trials, 13) != again[0]
    other = replace(found, search=found.search.model_copy(update={"seed": 18}))
    assert propose(other, study.trials, 12) != again[0]


def test_the_first_are_spread_evenly_over_the_space(tmp_path: Path) -> None:
    for seed in range(3):
        found = space(
            tmp_path, seed=seed, space={**RANKS, "train.learning_rate": {"low": 1.0e-3, "high": 9.0e-2, "log": True}}
        )
        first = [propose(found, (), number) for number in range(STARTUP_TRIALS)]
        places = sorted(to_unit(numbers_of(found.search)[RATE], float(each.values[RATE])) for each in first)
        assert all(abs(place - (part + 0.5) / 8) <= 0.0626 for part, place in enumerate(places))
        assert [each.values["lora.rank"] for each in first].count(4) == 2
        assert {each.values["lora.rank"] for each in first[:4]} == {2, 4, 8, 16}
        assert {each.stop_step for each in first} == {160}


def test_the_last_are_drawn_close_to_the_best(tmp_path: Path) -> None:
    found, study = measured(tmp_path, at_once=1, trials=48)
    near = [propose(found, study.trials[:46], number) for number in (46, 47)]
    best = best_trials(replace(study, trials=study.trials[:46]), "validation")[0]
    numbers = numbers_of(found.search)[RATE]
    for each in near:
        apart = to_unit(numbers, float(each.values[RATE])) - to_unit(numbers, float(best.values[RATE]))
        assert 0 < abs(apart) < 4 * NEAR
        assert (each.values["lora.rank"], each.stop_step) == (best.values["lora.rank"], 160)
    assert near[0] != near[1]
    assert dict(study.trials[46].values) == near[0].values


def test_no_configuration_is_drawn_twice_for_being_close(tmp_path: Path) -> None:
    narrow = {"lora.rank": {"low": 4, "high": 7}, "train.clip": {"choices": [0.5, 1.0]}}
    found = space(tmp_path, space=narrow, trials=24)
    rungs = (Rung(160, 1.0, None, 1.0, (1.0, 3.0, 6.0), 0, 0.0, 0.0),)
    tried = [Trial(number, {"lora.rank": 5, "train.clip": 1.0}, 160, 0.0, rungs, "finished") for number in range(23)]
    drawn = [
        propose(replace(found, search=found.search.model_copy(update={"seed": seed})), tried, 23) for seed in range(9)
    ]
    assert any(each.values != tried[0].values for each in drawn)  # the sampler's, for 5 is the nearest number to 5


def test_a_sampler_is_not_told_of_pairs_that_were_not_reached(tmp_path: Path) -> None:
    found, study = measured(tmp_path, at_once=1, trials=14)
    unfit = Trial(14, study.trials[0].values, 20, 0.0, ending="infeasible")
    stored = study_of(found.distributions, (*study.trials, unfit), "validation").trials
    told = study_of(found.distributions, (*study.trials, unfit), "validation", held_back=False).trials
    assert sum(seen.state is TrialState.PRUNED for seen in stored) > 1
    assert [seen.user_attrs["trial"] for seen in told if seen.state is TrialState.PRUNED] == [14]
    assert pairs(told) == pairs(stored)


def test_the_first_are_not_steered_and_later_ones_follow_the_losses(tmp_path: Path) -> None:
    found, study = measured(tmp_path, at_once=1, trials=20, scheduler="none")
    early, worse = STARTUP_TRIALS - 1, [replace(trial, rungs=trial.rungs[:1]) for trial in study.trials]
    assert propose(found, study.trials[:early], early) == propose(found, worse[:early], early)
    assert propose(found, study.trials, 20) != propose(found, worse, 20)
    rates = [float(propose(found, study.trials, number).values["train.learning_rate"]) for number in range(20, 30)]
    assert all(2e-3 < rate < 1.3e-2 for rate in rates), rates  # the formula's best is 5e-3


def test_proposed_numbers_are_short_and_inside_their_range(tmp_path: Path) -> None:
    found = space(tmp_path, space={"train.learning_rate": {"low": 0.00123456, "high": 0.00123457}})
    values = [float(propose(found, (), number).values["train.learning_rate"]) for number in range(20)]
    assert all(0.00123456 <= value <= 0.00123457 for value in values)
    found = space(tmp_path)
    assert all(len(f"{propose(found, (), n).values['train.learning_rate']:g}") <= 8 for n in range(20))


def test_the_objective_chooses_the_loss(tmp_path: Path) -> None:
    _, study = measured(tmp_path, at_once=1)
    rung = replace(study.trials[0].rungs[0], loss=1.0, answer_loss=2.0, think_loss=None)
    assert [loss_of(rung, kind) for kind in ("validation", "answer", "think")] == [1.0, 2.0, float("inf")]

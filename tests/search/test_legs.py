"""The legs of a trial: where each ends, and which stop steps are measured on it."""

from dataclasses import replace

import pytest

from runner.config.search import Search
from runner.search.legs import first_leg, leg_after, leg_ends, passed_by, refining_from, stops_due
from runner.search.records import Rung, Trial
from search_fakes import SMALL

STOPS = (25, 50, 75, 100, 125, 150, 175, 200)
RATES = {"train.learning_rate": {"low": 1e-3, "high": 1e-2}}
SEARCH = Search.model_validate({"stop_steps": STOPS, "space": RATES})
TRIAL = Trial(0, {}, 200, 0.0, until=25)


def having(trial: Trial, *stops: int) -> Trial:
    return replace(trial, rungs=tuple(Rung(stop, 1.0, None, 1.0, (), 0, 0.0, 0.0) for stop in stops))


def test_legs_end_at_the_halving_steps_and_at_the_last() -> None:
    assert leg_ends(SEARCH) == (25, 50, 200)
    assert leg_ends(SEARCH.model_copy(update={"scheduler": "none"})) == (200,)
    assert [leg_after(SEARCH, end) for end in (25, 50)] == [50, 200]


@pytest.mark.parametrize(("own", "due"), [(200, ()), (25, ()), (75, (75,)), (150, (150,))])
def test_a_trial_measures_the_ends_of_its_legs_and_its_own_stop_step(own: int, due: tuple[int, ...]) -> None:
    assert stops_due(SEARCH, replace(TRIAL, stop_step=own)) == tuple(sorted({25, 50, 200, *due}))


def test_held_back_and_going_on_measures_what_it_has_not() -> None:
    assert stops_due(SEARCH, replace(having(TRIAL, 25), until=50)) == (50, 200)
    assert stops_due(SEARCH, replace(having(TRIAL, 25, 50), until=200)) == (200,)


def test_what_was_passed_by_is_left_for_after_the_last() -> None:
    assert stops_due(SEARCH, replace(having(TRIAL, 25, 50, 200), until=200)) == (75, 100, 125, 150, 175)
    assert stops_due(SEARCH, replace(having(TRIAL, *STOPS), until=200)) == ()


def test_the_last_trials_go_to_the_end_at_once() -> None:
    assert [refining_from(SEARCH.model_copy(update={"trials": trials})) for trials in (8, 24, 48)] == [8, 23, 46]
    assert [first_leg(SEARCH, number) for number in (0, 22, 23)] == [25, 25, 200]
    assert stops_due(SEARCH, replace(TRIAL, number=23, until=200)) == (200,)
    assert stops_due(SEARCH, replace(TRIAL, number=23, until=200, stop_step=150)) == (150, 200)


def test_what_a_trial_passes_by_is_neither_due_nor_measured() -> None:
    assert passed_by(SEARCH, TRIAL, (25, 50, 200)) == (75, 100, 125, 150, 175)
    assert passed_by(SEARCH, having(TRIAL, 25, 50), (150, 200)) == (75, 100, 125, 175)
    assert passed_by(SEARCH, having(TRIAL, 25, 50, 200), (75, 100, 125, 150, 175)) == ()


def test_choices_alone_and_random_values_have_no_trials_close_to_the_best() -> None:
    assert refining_from(SEARCH.model_copy(update={"sampler": "random"})) == 24
    chosen = {"stop_steps": STOPS, "space": {"lora.rank": {"choices": [2, 4]}}}
    assert refining_from(Search.model_validate(chosen)) == 24


def test_without_a_scheduler_every_stop_step_is_measured() -> None:
    search = Search.model_validate({**SMALL, "space": {}, "scheduler": "none"})
    assert stops_due(search, Trial(0, {}, 40, 0.0, until=160)) == search.stop_steps

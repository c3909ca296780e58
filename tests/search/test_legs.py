"""The legs of a trial: where each ends, and which stop steps are measured on it."""

from dataclasses import replace

import pytest

from runner.config.search import Search
from runner.search.legs import leg_after, leg_ends, stops_due
from runner.search.records import Rung, Trial
from search_fakes import SMALL

STOPS = (25, 50, 75, 100, 125, 150, 175, 200)
SEARCH = Search.model_validate({"stop_steps": STOPS, "reduction_factor": 3})
TRIAL = Trial(0, {}, 200, 0.0, until=25)


def having(trial: Trial, *stops: int) -> Trial:
    return replace(trial, rungs=tuple(Rung(stop, 1.0, None, 1.0, (), 0, 0.0, 0.0) for stop in stops))


def test_legs_end_at_the_halving_steps_and_at_the_last() -> None:
    assert leg_ends(SEARCH) == (25, 75, 200)
    assert leg_ends(SEARCH.model_copy(update={"scheduler": "none"})) == (200,)
    assert [leg_after(SEARCH, end) for end in (25, 75)] == [75, 200]


@pytest.mark.parametrize(("own", "due"), [(200, ()), (25, ()), (50, (50,)), (150, ())])
def test_first_legs_measure_their_ends_and_the_trials_own_and_the_last_all(own: int, due: tuple[int, ...]) -> None:
    found = stops_due(SEARCH, replace(TRIAL, stop_step=own))
    assert found == tuple(sorted({25, 75, 100, 125, 150, 175, 200, *due}))


def test_held_back_and_going_on_measures_what_it_has_not() -> None:
    assert stops_due(SEARCH, replace(having(TRIAL, 25), until=75)) == (75, 100, 125, 150, 175, 200)
    assert stops_due(SEARCH, replace(having(TRIAL, 25, 75), until=200)) == (100, 125, 150, 175, 200)


def test_what_was_passed_by_is_left_for_after_the_last() -> None:
    assert stops_due(SEARCH, replace(having(TRIAL, 25, 75, *STOPS[3:]), until=200)) == (50,)
    assert stops_due(SEARCH, replace(having(TRIAL, *STOPS), until=200)) == ()


def test_without_a_scheduler_every_stop_step_is_measured() -> None:
    search = Search.model_validate({**SMALL, "space": {}, "scheduler": "none"})
    assert stops_due(search, Trial(0, {}, 40, 0.0, until=160)) == search.stop_steps

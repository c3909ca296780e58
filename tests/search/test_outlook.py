"""The outlook: early losses are read as losses at the last stop step where the best values move on the way."""

import math
import random
from dataclasses import replace

import pytest

from runner.config.search import Search
from runner.search.choice import to_go_on
from runner.search.outlook import outlook_of
from runner.search.records import Rung, Study, Trial

STOPS = (25, 50, 200)
SPACE = {"lora.rank": {"choices": [4, 8]}, "train.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}
SEARCH = Search.model_validate({"stop_steps": STOPS, "space": SPACE})


def true_loss(place: float, stop_step: int, *, moves: float) -> float:
    """Lowest at place 0.5 for step 200, ``moves`` further up for each halving of the steps."""
    best = 0.5 + moves * math.log2(200 / stop_step)
    return math.exp(2.0 * (place - best) ** 2) / math.sqrt(stop_step)


def study(places: list[float], *, moves: float, noise: float = 0.0, reached: int = 3) -> Study:
    """Trials at ``places`` that measured the first ``reached`` stop steps."""
    draws, trials = random.Random(1), []
    for number, place in enumerate(places):
        rungs = []
        for stop in STOPS[:reached]:
            loss = true_loss(place, stop, moves=moves) * math.exp(draws.gauss(0.0, noise))
            rungs.append(Rung(stop, loss, None, None, (), 0, 0.0, 0.0))
        values = {"lora.rank": 4 + 4 * (number % 2), "train.learning_rate": 10 ** (2 * place - 3)}
        trials.append(Trial(number, values, 200, 0.0, tuple(rungs)))
    return Study((), 1.0, tuple(trials))


def order(found: Study, fresh: list[float], *, moves: float) -> list[float]:
    """``fresh`` places by the outlook of ``found`` on their losses at step 25, the best first."""
    outlook = outlook_of(found, SEARCH)
    trials = study(fresh, moves=moves, reached=1).trials
    scores = [outlook.at_last(trial, 25, trial.rungs[0].loss) for trial in trials]
    return [place for _, place in sorted(zip(scores, fresh, strict=True))]


def test_an_early_loss_is_corrected_by_how_the_best_rate_moves() -> None:
    measured, fresh = study([0.1, 0.3, 0.6, 0.9], moves=0.1, noise=0.02), [0.5, 0.6, 0.8]
    raw = sorted(fresh, key=lambda place: true_loss(place, 25, moves=0.1))
    assert raw == [0.8, 0.6, 0.5]  # what step 25 says; the best at step 200 is 0.5
    assert order(measured, fresh, moves=0.1) == [0.5, 0.6, 0.8]


def test_who_goes_on_is_chosen_by_it() -> None:
    gone, fresh = study([0.1, 0.3, 0.6, 0.9], moves=0.1, noise=0.02), [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    waiting = study(fresh, moves=0.1, reached=1).trials
    trials = [replace(trial, ending="finished", until=200) for trial in gone.trials]
    trials += [replace(trial, number=trial.number + 4, ending="stopped", until=25) for trial in waiting]
    chosen = to_go_on(replace(gone, trials=tuple(trials)), SEARCH, closing=True)
    assert chosen == (4, 50)  # at place 0.5, though all the others but the last two have a lower loss at step 25
    assert waiting[0].rungs[0].loss > max(trial.rungs[0].loss for trial in waiting[1:4])


def test_where_nothing_moves_the_losses_stand_as_they_are() -> None:
    measured = study([0.1, 0.3, 0.6, 0.9], moves=0.0, noise=0.02)
    assert abs(outlook_of(measured, SEARCH).slopes[0]) < 0.03
    assert order(measured, [0.9, 0.45, 0.7], moves=0.0) == [0.45, 0.7, 0.9]


def test_the_slope_is_that_of_the_formula() -> None:
    slope = outlook_of(study([place / 40 for place in range(41)], moves=0.1), SEARCH).slopes
    assert slope == pytest.approx([4.0 * 0.1], rel=0.05)  # d/dp d/dlog2(s) of 2 (p - 0.5 - 0.1 log2(200/s))^2


def test_one_trial_with_two_losses_moves_next_to_nothing() -> None:
    assert outlook_of(study([0.9], moves=0.1, reached=2), SEARCH).slopes == pytest.approx([0.0], abs=0.01)


def test_before_a_trial_has_two_losses_and_without_numbers_there_is_no_slope() -> None:
    assert list(outlook_of(study([0.1, 0.9], moves=0.1, reached=1), SEARCH).slopes) == [0.0]
    choices = Search.model_validate({"stop_steps": STOPS, "space": {"lora.rank": SPACE["lora.rank"]}})
    found = study([0.1, 0.9], moves=0.1)
    outlook = outlook_of(found, choices)
    assert outlook.at_last(found.trials[0], 25, 0.5) == pytest.approx(math.log(0.5))


def test_losses_that_have_no_logarithm_or_are_not_there_break_nothing() -> None:
    found = study([0.1, 0.9], moves=0.1)
    empty = Rung(100, 0.0, None, None, (), 0, 0.0, 0.0)
    trials = tuple(Trial(t.number, t.values, 200, 0.0, (*t.rungs, empty)) for t in found.trials)
    assert all(math.isfinite(slope) for slope in outlook_of(Study((), 1.0, trials), SEARCH).slopes)
    thinking = SEARCH.model_copy(update={"objective": "think"})
    assert list(outlook_of(found, thinking).slopes) == [0.0]

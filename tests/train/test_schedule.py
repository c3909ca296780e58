"""The learning rate over the steps, and the plateau rule."""

import itertools

import pytest

from runner.config.job import Plateau, Train
from runner.train.schedule import Measured, full_horizon, has_plateaued, learning_rate, shortened

TRAIN = Train(steps=1000, learning_rate=1e-3, warmup=0.03, decay=0.1)


def rates(train: Train) -> list[float]:
    horizon = full_horizon(train)
    return [learning_rate(train, horizon, step) for step in range(1, train.steps + 1)]


def test_rate_warms_up_stays_and_decays() -> None:
    all_rates = rates(TRAIN)
    assert all_rates[0] == pytest.approx(1e-3 / 30)
    assert all_rates[29:900] == [1e-3] * 871
    assert all(later < earlier for earlier, later in itertools.pairwise(all_rates[900:]))


@pytest.mark.parametrize("schedule", ["warmup-stable-decay", "cosine", "constant"])
def test_every_step_has_a_rate_above_zero_and_none_above_the_peak(schedule: str) -> None:
    train = TRAIN.model_copy(update={"schedule": schedule})
    assert all(0.0 < rate <= 1e-3 for rate in rates(train))


def test_cosine_falls_to_nearly_zero() -> None:
    assert rates(TRAIN.model_copy(update={"schedule": "cosine"}))[-1] < 1e-8


def test_one_step_is_enough() -> None:
    assert len(rates(TRAIN.model_copy(update={"steps": 1}))) == 1


def test_plateau_fires_when_the_window_gained_too_little() -> None:
    rule = Plateau(window=200, improvement=0.05)
    falling = [Measured(step, 3.0 - step / 1000) for step in range(100, 600, 100)]
    assert not has_plateaued(falling, rule, stable_from=30)
    flat = [*falling, Measured(600, 2.499), Measured(700, 2.49)]
    assert has_plateaued(flat, rule, stable_from=30)


def test_plateau_needs_a_whole_window_of_the_stable_phase() -> None:
    rule = Plateau(window=500, improvement=0.05)
    flat = [Measured(step, 2.0) for step in range(100, 600, 100)]
    assert not has_plateaued(flat, rule, stable_from=200)
    assert has_plateaued([*flat, Measured(600, 2.0)], rule, stable_from=100)


def test_a_shortened_run_decays_for_the_same_part_of_its_steps() -> None:
    sooner = shortened(TRAIN, full_horizon(TRAIN), 450)
    assert sooner.decay_start == 450
    assert sooner.end == 500

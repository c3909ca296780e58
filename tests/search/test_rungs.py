"""Successive halving: which stop steps are rungs, and who goes on from them."""

from runner.search.rungs import Halving, halving_steps


def test_rungs_lie_a_factor_apart_and_the_last_stop_step_is_none() -> None:
    assert halving_steps((250, 500, 750, 1000, 1250, 1500, 1800, 2175), 3) == (250, 750)
    assert halving_steps((50, 100, 200), 2) == (50, 100)
    assert halving_steps((50,), 2) == ()


def test_the_first_goes_on_and_later_ones_when_among_the_best_third() -> None:
    halving = Halving((10,), 3)
    losses = [2.0, 1.0, 3.0, 1.5, 0.5, 1.2, 0.9]
    goes_on = []
    for trial, loss in enumerate(losses):
        halving.record(trial, 10, loss)
        goes_on.append(not halving.why_stop(trial, 10))
    # the best ceil(n / 3) of n: 1, 1, 1, 2, 2, 2, 3
    assert goes_on == [True, True, False, True, True, False, True]
    assert halving.why_stop(2, 10) == "at step 10 6 of 7 trials were better, the best 3 go on"


def test_other_steps_stop_nobody_and_equal_losses_go_on_together() -> None:
    halving = Halving((10,), 3)
    for trial in range(4):
        halving.record(trial, 10, 1.0)
        halving.record(trial, 20, float(trial))
    assert [halving.why_stop(trial, step) for trial in range(4) for step in (10, 20)] == [""] * 8


def test_a_trial_that_begins_anew_counts_once() -> None:
    halving = Halving((10,), 2)
    for trial, loss in enumerate((1.0, 2.0, 3.0)):
        halving.record(trial, 10, loss)
    halving.forget(0)
    assert "1 of 2 trials were better, the best 1 go on" in halving.why_stop(2, 10)
    halving.record(0, 10, 1.0)
    halving.record(0, 10, 1.0)
    assert "2 of 3 trials were better, the best 2 go on" in halving.why_stop(2, 10)

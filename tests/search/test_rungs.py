"""Successive halving: which stop steps are rungs, who goes on from them, and when."""

from runner.search.rungs import Standing, halving_steps, next_to_go_on, places, why_waits


def test_rungs_lie_a_factor_apart_and_the_last_stop_step_is_none() -> None:
    assert halving_steps((10, 30, 90, 270, 810), 3) == (10, 30, 90)
    assert halving_steps((10, 20, 30, 40, 50, 100, 400), 2) == (10, 20, 40, 100)
    assert halving_steps((50,), 2) == ()


def test_the_last_rung_lies_well_before_the_end_and_one_there_always_is() -> None:
    assert halving_steps((25, 50, 75, 100, 125, 150, 175, 200), 2) == (25, 50)  # 4 times 100 are more than 200
    assert halving_steps((25, 50, 75, 100, 125, 150, 175, 200), 3) == (25,)
    assert halving_steps((40, 80), 2) == (40,)


def test_one_in_so_many_goes_on() -> None:
    assert [places(count, 3) for count in range(8)] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_when_none_is_to_come_the_best_goes_on_wherever_it_waits() -> None:
    """Though the places were taken before it came; the next best then waits for good."""
    there = [Standing(0, 1.0, has_gone_on=True, waits=False)]
    there += [Standing(trial, loss, has_gone_on=False, waits=True) for trial, loss in ((1, 0.9), (2, 0.8))]
    assert next_to_go_on(there, 2, closing=False) is None
    assert next_to_go_on(there, 2, closing=True) == 2
    there[2] = Standing(2, 0.8, has_gone_on=True, waits=False)
    assert next_to_go_on(there, 2, closing=True) is None
    assert next_to_go_on(there[1:2], 2, closing=True) == 1


def gone_on(losses: list[float], factor: int) -> list[list[int]]:
    """Who goes on after each of ``losses`` has come."""
    there: list[Standing] = []
    found = []
    for trial, loss in enumerate(losses):
        there.append(Standing(trial, loss, has_gone_on=False, waits=True))
        went = []
        while (number := next_to_go_on(there, factor, closing=False)) is not None:
            there[number] = Standing(number, there[number].loss, has_gone_on=True, waits=False)
            went.append(number)
        found.append(went)
    return found


def test_the_best_that_waits_goes_on_when_there_is_a_place_for_it() -> None:
    assert gone_on([2.0, 1.0, 3.0, 1.5, 0.5, 1.2, 0.9], 3) == [[], [], [1], [], [], [4], []]


def test_trials_that_get_better_and_better_do_not_all_go_on() -> None:
    went = gone_on([1.0 - 0.01 * trial for trial in range(24)], 2)
    assert sum(map(len, went)) == 12
    assert went[-1] == [23]


def test_equal_losses_go_on_in_the_order_of_their_numbers() -> None:
    assert gone_on([1.0] * 4, 2) == [[], [0], [], [1]]


def test_what_cannot_go_on_holds_no_place_and_is_not_chosen() -> None:
    lost = Standing(0, 0.1, has_gone_on=False, waits=False)
    there = [lost, Standing(1, 0.5, has_gone_on=False, waits=True)]
    assert next_to_go_on(there, 2, closing=False) == 1
    assert next_to_go_on([lost], 2, closing=True) is None


def test_why_a_trial_waits_is_told() -> None:
    there = [Standing(trial, float(trial), has_gone_on=trial == 0, waits=trial > 0) for trial in range(3)]
    assert why_waits(there, 2, 1000, 2) == "of 3 at step 1,000 1 may go on so far, and 2 were better"

"""Seeded, stratified choice of questions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runner.data.choice import apportion, candidates


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12), st.integers(0, 400))
def test_shares_sum_to_what_there_is_and_respect_the_caps(strata: list[tuple[int, int]], total: int) -> None:
    sizes, caps = np.array(strata, dtype=np.int64).T
    shares = apportion(total, sizes, caps)
    assert shares.sum() == min(total, caps.sum())
    assert (shares >= 0).all()
    assert (shares <= caps).all()


def test_shares_are_proportional_where_nothing_is_capped() -> None:
    sizes = np.array([600, 300, 100])
    assert apportion(100, sizes, sizes).tolist() == [60, 30, 10]
    assert apportion(10, np.array([1, 1, 1]), np.array([9, 9, 9])).tolist() == [4, 3, 3]


def test_what_a_capped_stratum_cannot_give_the_others_give() -> None:
    assert apportion(100, np.array([600, 300, 100]), np.array([20, 300, 100])).tolist() == [20, 60, 20]


def test_candidates_are_seeded_and_hold_every_eligible_row_once() -> None:
    groups = np.arange(300) // 3
    strata = np.arange(100) % 4
    eligible = np.arange(300) % 7 != 0
    first, again, other = (candidates(groups, strata, eligible, seed) for seed in (1, 1, 2))
    assert sorted(first.rows.tolist()) == np.flatnonzero(eligible).tolist()
    assert [queue.tolist() for queue in first.queues] == [queue.tolist() for queue in again.queues]
    assert [queue.tolist() for queue in first.queues] != [queue.tolist() for queue in other.queues]
    assert all((groups[first.rows_of(group)] == group).all() for queue in first.queues for group in queue.tolist())


def test_taking_questions_out_keeps_the_order_of_the_rest() -> None:
    groups, strata = np.arange(40), np.zeros(40, dtype=np.int64)
    whole = candidates(groups, strata, np.ones(40, dtype=np.bool_), seed=3).queues[0].tolist()
    part = candidates(groups, strata, ~np.isin(groups, whole[:10]), seed=3).queues[0].tolist()
    assert part == whole[10:]

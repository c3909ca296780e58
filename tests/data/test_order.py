"""The order of buffers: a pure function of step and seed that shows every buffer once an epoch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runner.data.order import packs_of_step


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**31 - 1))
def test_every_buffer_is_seen_exactly_once_an_epoch(packs: int, buffers_per_step: int, seed: int) -> None:
    steps = -(-3 * packs // buffers_per_step)
    seen = np.concatenate([packs_of_step(packs, buffers_per_step, step + 1, seed) for step in range(steps)])
    for epoch in range(3):
        assert sorted(seen[epoch * packs : (epoch + 1) * packs].tolist()) == list(range(packs))


def test_a_step_does_not_depend_on_the_steps_before() -> None:
    alone = packs_of_step(31, 8, 1000, seed=5)
    for step in range(1, 1000, 37):
        packs_of_step(31, 8, step, seed=5)
    assert alone.tolist() == packs_of_step(31, 8, 1000, seed=5).tolist()
    assert alone.dtype == np.int64


def test_epochs_and_seeds_differ_in_their_order() -> None:
    first, second = packs_of_step(50, 50, 1, seed=5), packs_of_step(50, 50, 2, seed=5)
    assert first.tolist() != second.tolist()
    assert first.tolist() != packs_of_step(50, 50, 1, seed=6).tolist()


def test_the_order_is_the_same_on_every_machine_and_version() -> None:
    assert packs_of_step(10, 4, 1, seed=17).tolist() + packs_of_step(10, 4, 3, seed=17).tolist() == EXPECTED


EXPECTED = [4, 0, 1, 7, 5, 3, 0, 4]

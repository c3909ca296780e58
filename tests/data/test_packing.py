"""Packing of documents into buffers: nothing lost, nothing cut, few buffers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.data.packing import Packing, pack_lengths


def members(packing: Packing) -> list[list[int]]:
    return [
        packing.documents[start:end].tolist()
        for start, end in zip(packing.offsets[:-1], packing.offsets[1:], strict=True)
    ]


@given(st.lists(st.integers(1, 64), max_size=200))
@settings(max_examples=200, deadline=None)
def test_every_document_is_in_one_pack_and_no_pack_is_over_capacity(lengths: list[int]) -> None:
    packs = members(pack_lengths(lengths, 64))
    assert sorted(document for pack in packs for document in pack) == list(range(len(lengths)))
    assert all(0 < sum(lengths[document] for document in pack) <= 64 for pack in packs)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_two_packs_could_be_joined(lengths: list[int]) -> None:
    filled = sorted(sum(lengths[document] for document in pack) for pack in members(pack_lengths(lengths, 64)))
    assert len(filled) < 2 or filled[0] + filled[1] > 64


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_packs_stay_within_the_bound_of_a_known_perfect_packing(parts: list[list[int]]) -> None:
    capacity = 200
    perfect = [[*part, capacity - sum(part)] for part in parts]  # every buffer exactly full: the optimum is known
    lengths = [length for part in perfect for length in part if length]
    packs = len(pack_lengths(lengths, capacity))
    assert len(parts) <= packs <= math.floor(11 / 9 * len(parts) + 6 / 9)


def test_the_fullest_pack_that_takes_a_document_gets_it() -> None:
    # 60 and 50 open packs with 40 and 50 tokens free; 40 fits both and belongs where it fills the pack
    assert members(pack_lengths([50, 60, 40], 100)) == [[1, 2], [0]]


def test_equal_lengths_give_equal_packs() -> None:
    lengths = np.random.default_rng(3).integers(1, 500, size=2000)
    first, second = pack_lengths(lengths, 512), pack_lengths(lengths.copy(), 512)
    assert np.array_equal(first.documents, second.documents)
    assert np.array_equal(first.offsets, second.offsets)


@pytest.mark.parametrize("lengths", [[5, 101], [0]])
def test_a_document_that_is_empty_or_over_capacity_is_our_own_mistake(lengths: list[int]) -> None:
    with pytest.raises(AssertionError, match=r"lengths must lie in 1\.\.100"):
        pack_lengths(lengths, 100)

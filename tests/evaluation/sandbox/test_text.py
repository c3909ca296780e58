"""The JSON that boxes speak is json's own, by another way in."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from runner.evaluation.sandbox.inside.text import dumps, loads

PLAIN = some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text()
VALUES = some.recursive(PLAIN, lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner), max_leaves=20)


@given(VALUES)
def test_values_become_the_text_that_json_makes_of_them_and_come_back(value: Any) -> None:
    assert dumps(value) == json.dumps(value)
    assert loads(json.dumps(value)) == value


@pytest.mark.parametrize("value", [(1, (2,)), {1: "a", None: 2, False: 3.5}, [math.inf, -math.inf], "\ud800é"])
def test_what_json_bends_is_bent_alike(value: Any) -> None:
    assert dumps(value) == json.dumps(value)
    assert loads(dumps(value)) == json.loads(json.dumps(value))


def test_what_is_no_number_crosses() -> None:
    assert math.isnan(loads(dumps(float("nan"))))


@pytest.mark.parametrize("value", [{1}, b"", {(1,): 2}, 10**5000], ids=lambda value: type(value).__name__)
def test_what_json_refuses_is_refused_alike(value: Any) -> None:
    refusals = []
    for refusing in (json.dumps, dumps):
        with pytest.raises((TypeError, ValueError)) as caught:
            refusing(value)
        refusals.append((caught.type, str(caught.value)))
    assert refusals[0] == refusals[1]


def test_a_list_in_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="Circular"):
        dumps(endless)


@pytest.mark.parametrize("text", ["", "nothing", "[1", '{"a"}', "1 2", "[]]", '"\x01"'])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|one value|Invalid"):
        loads(text)

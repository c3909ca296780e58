"""Which statements count as one question."""

import random
import time

import numpy as np
import pytest

from runner.data.statements import components, near_identical_pairs, signature_of, statement_key, words_of

STATEMENT = (
    "You are given a tree with n vertices. Each edge has a weight w between 1 and 1000. For every query (u, v) "
    "find the largest weight on the path between the vertices u and v, and print it on a line of its own. The "
    "first line holds n and q, the number of queries; each of the next n - 1 lines describes an edge, and each of "
    "the last q lines holds a query. It is guaranteed that the sum of all answers fits in 64 bits."
)


def merged(*statements: str) -> bool:
    signatures = [signature_of(words_of(statement)) for statement in statements]
    found = [signature for signature in signatures if signature is not None]
    assert len(found) == len(statements)
    pairs = near_identical_pairs(np.stack(found))
    return len(set(components(len(found), map(tuple, pairs.tolist())))) == 1


@pytest.mark.parametrize(
    "variant",
    [
        STATEMENT.upper(),
        STATEMENT.replace(" ", "\n\t "),
        STATEMENT.replace("(u, v)", "$(u, v)$").replace(". ", "... "),
        STATEMENT.replace("1000", "１０００"),  # noqa: RUF001 - full-width digits are the point
    ],
)
def test_case_blanks_width_and_punctuation_do_not_count(variant: str) -> None:
    assert statement_key(words_of(variant)) == statement_key(words_of(STATEMENT))


@pytest.mark.parametrize(
    "variant",
    [
        "Problem 17B (easy). " + STATEMENT,
        STATEMENT.replace("largest weight", "greatest weight").replace("1000", "500"),
        STATEMENT.replace("It is guaranteed that the sum", "The sum"),
        STATEMENT + " Note that a path may hold a single vertex.",
    ],
)
def test_a_light_paraphrase_of_a_long_statement_is_the_same_question(variant: str) -> None:
    assert statement_key(words_of(variant)) != statement_key(words_of(STATEMENT))
    assert merged(STATEMENT, variant)


def test_another_question_with_the_same_frame_is_another_question() -> None:
    other = (
        "You are given an array of n numbers. For every query (l, r) print how many different numbers lie between "
        "the places l and r, both included. The first line holds n and q, the number of queries; the second line "
        "holds the array, and each of the last q lines holds a query. Every number is between 1 and 1000."
    )
    assert not merged(STATEMENT, other)


def test_operators_tell_short_statements_apart() -> None:
    assert statement_key(words_of("What is 3 + 2?")) != statement_key(words_of("What is 3 - 2?"))
    assert signature_of(words_of("What is 3 + 2?")) is None


def test_signatures_estimate_the_jaccard_similarity_of_shingles() -> None:
    words = [f"w{number}" for number in range(400)]
    changed = [*words[:300], *(f"x{number}" for number in range(100))]
    left, right = signature_of(words), signature_of(changed)
    assert left is not None
    assert right is not None
    # 398 shingles each, 298 of them shared: 298 / 498 = 0.598; the estimate's standard error is 0.045
    assert abs(float((left == right).mean()) - 298 / 498) < 0.14


def test_linked_nodes_share_a_component_and_others_do_not() -> None:
    assert components(6, [(4, 1), (1, 5), (2, 3)]).tolist() == [0, 1, 2, 2, 1, 1]


def test_a_thousand_statements_are_signed_and_compared_in_seconds() -> None:
    draw = random.Random(1)
    lists = [[f"w{draw.randrange(5000)}" for _ in range(300)] for _ in range(1000)]
    start = time.perf_counter()
    signatures = [signature for words in lists if (signature := signature_of(words)) is not None]
    assert len(near_identical_pairs(np.stack(signatures))) == 0
    assert time.perf_counter() - start < 5.0

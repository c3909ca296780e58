"""Rows, programs and hidden tests of the six families, each a pure function of its seed or id.

What a family asks is in the family's module; the values are in ``question``.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as counting
from random import Random
from typing import TypeVar

from runner.data.questions import (
    bug_fixing,
    dynamic_and_stacks,
    integer_loops,
    list_pipelines,
    output_prediction,
    programming,
    string_pipelines,
    word_lists,
)
from runner.data.questions.pipeline import Chain, names
from runner.data.questions.question import Question, Split, Test, row
from runner.errors import UserError

Item = TypeVar("Item")

HELD_OUT = 32  # of 256: an eighth of the sequences of two or more operations is never trained on
STALE_DRAWS = 20_000  # draws in a row without a new text, after which there are no more


@dataclass(frozen=True)
class Family:
    """How the questions of one kind are drawn and written; ``write`` gives None for an unsuitable chain."""

    name: str
    draw: Callable[[Random], Chain]
    write: Callable[[Random, Chain], Question | None]


FAMILIES = (
    Family("list-pipelines", list_pipelines.draw, programming.write_question),
    Family("string-pipelines", string_pipelines.draw, programming.write_question),
    Family("integer-loops", integer_loops.draw, programming.write_question),
    Family("output-prediction", output_prediction.draw, output_prediction.write_question),
    Family("bug-fixing", bug_fixing.draw, bug_fixing.write_question),
    Family("dynamic-and-stacks", dynamic_and_stacks.draw, programming.write_question),
)
BY_NAME = {family.name: family for family in FAMILIES}
WORD_LISTS = "word-lists"  # programs for the base that belong to no family of questions


def rows(split: Split, count: int, seed: int) -> Iterator[dict[str, str]]:
    """``count`` rows in OpenCodeReasoning's nine columns, the families in turn, repeated texts left out.

    Same arguments, same rows, in any process.  Train and validation share no operation sequence, whatever
    their seeds.  Raises ``UserError`` when there are not that many questions.
    """
    ids = (f"{FAMILIES[number % len(FAMILIES)].name}:{split}:{seed}:{number}" for number in counting())
    pairs = ((question_id, question_of(question_id)) for question_id in ids)
    for question_id, question in _distinct(pairs, count, lambda pair: pair[1].statement):
        yield row(question, question_id, family_of(question_id), split)


def programs(count: int, seed: int) -> Iterator[dict[str, str]]:
    """``count`` distinct commented programs without questions, as ``{"text": ...}``, for making a base.

    Their operation sequences are those of the train split: none is held out.
    """
    texts = (_program(name, f"{seed}:{number}") for number in counting() for name in (*BY_NAME, WORD_LISTS))
    return ({"text": text} for text in _distinct(texts, count, str))


def hidden_tests(question_id: str) -> tuple[Test, ...]:
    """The tests of a question, rebuilt from its id alone.

    Raises ``UserError`` for an id that this generator does not give.
    """
    return question_of(question_id).tests


def question_of(question_id: str) -> Question:
    """The whole question of an id, the same in every process.

    Raises ``UserError`` for an id that this generator does not give.
    """
    family, split = _parse(question_id)
    return _draw_question(family, split, Random(question_id))


def family_of(question_id: str) -> str:
    """The name of the family that a question belongs to."""
    return _parse(question_id)[0].name


def is_held_out(sequence: tuple[str, ...]) -> bool:
    """Whether an operation sequence belongs to validation; single operations never do, so that all are taught."""
    return len(sequence) > 1 and hashlib.sha256(" ".join(sequence).encode()).digest()[0] < HELD_OUT


def _draw_question(family: Family, split: Split, random: Random) -> Question:
    while True:
        chain = family.draw(random)
        if is_held_out(names(chain)) == (split == "validation"):
            question = family.write(random, chain)
            if question is not None:
                return question


def _program(name: str, seed: str) -> str:
    random = Random(f"{name}:programs:{seed}")
    if name == WORD_LISTS:
        return word_lists.write_program(random)
    return _draw_question(BY_NAME[name], "train", random).program


def _parse(question_id: str) -> tuple[Family, Split]:
    match question_id.split(":"):
        case [name, "train" | "validation" as split, seed, number] if name in BY_NAME and (seed + number).isdigit():
            return BY_NAME[name], split
    raise UserError(
        f"question id {question_id!r} names no built-in question",
        "",
        "ids look like list-pipelines:validation:17:0; only builtin:questions have hidden tests",
    )


def _distinct(items: Iterator[Item], count: int, key: Callable[[Item], str]) -> Iterator[Item]:
    """The first ``count`` items whose keys differ."""
    seen: set[str] = set()
    stale = 0
    while len(seen) < count:
        item = next(items)
        stale = stale + 1 if key(item) in seen else 0
        if stale > STALE_DRAWS:
            raise UserError(
                f"only {len(seen)} distinct built-in texts exist, not {count}", "data.questions", "ask for fewer"
            )
        if not stale:
            seen.add(key(item))
            yield item

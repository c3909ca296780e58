"""Programs for the base alone: lists of phrases from the questions, taken apart and put in order.

They let the base meet every word that a question may hold, and learn to copy, without one question: what a
phrase asks for is not in them.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from random import Random

from runner.data.questions import bug_fixing, integer_loops, output_prediction, wording
from runner.data.questions.dynamic_and_stacks import BEFORE, CORES
from runner.data.questions.number_operations import NUMBERS, REDUCTIONS, SINGLE
from runner.data.questions.operation import Operation, fill
from runner.data.questions.output_prediction import MARKER
from runner.data.questions.pipeline import Chain, extend, values_of, write_code
from runner.data.questions.programming import CLOSING
from runner.data.questions.question import FENCE
from runner.data.questions.text_operations import JOINS, MEASURES, SPLITS, TEXT, WORDS

STEPS = tuple(operation for operation in WORDS if operation.name in ("reverse-words", "first-words", "unique-words"))
LOOPS = (*integer_loops.SOURCES, *integer_loops.FILTERS, *integer_loops.TERMS, *integer_loops.FOLDS)
LONGEST = 5  # words of one phrase
SIGNS = ("</think>", FENCE, "```")  # what else an answer is made of
SIGNS_SHARE = 0.1
WORD = re.compile(r"[\w-]+[.,:;?]*")


def write_program(random: Random) -> str:
    """A program on a list of phrases, worked through."""
    chain: Chain = ()
    for _ in range(random.choice((1, 2))):
        chain = extend(random, chain, STEPS, "words")
    start = [_phrase(random) for _ in range(random.randint(2, 5))]
    if random.random() < 0.3:
        start.append(random.choice(start))
    values = values_of(chain, start)
    worked = "".join(f"# {step.comment}: {_text(value)}\n" for step, value in zip(chain, values, strict=True))
    return f"{write_code(chain, commented=True)}\n# start: {_text(start)}\n{worked}{MARKER}{_text(values[-1])}\n"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _phrase(random: Random) -> str:
    if random.random() < SIGNS_SHARE:
        return random.choice(SIGNS)
    words = WORD.findall(random.choice(_sentences()))
    start = random.randrange(len(words))
    return " ".join(words[start : start + random.randint(1, LONGEST)])


@cache
def _sentences() -> tuple[str, ...]:
    """Every sentence and phrase that questions and answers are made of, with the constants filled in."""
    texts = [*wording.OPENINGS, *wording.LISTED, *(text for inputs in wording.INPUTS.values() for text in inputs)]
    texts += [
        *output_prediction.QUESTIONS,
        *bug_fixing.QUESTIONS,
        CLOSING,
        bug_fixing.CLOSING,
        output_prediction.CLOSING,
    ]
    return (*texts, *(phrase for operation in _operations() for phrase in _wordings(operation)))


def _operations() -> tuple[Operation, ...]:
    before = (operation for operations in BEFORE.values() for operation in operations)
    return (*before, *CORES, *NUMBERS, *REDUCTIONS, *SINGLE, *TEXT, *SPLITS, *WORDS, *JOINS, *MEASURES, *LOOPS)


def _wordings(operation: Operation) -> Iterator[str]:
    for text in operation.wordings:
        for constants in operation.choices:
            yield fill(text, constants)

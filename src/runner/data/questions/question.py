"""The values of the generator: a question with its answer and hidden tests, and its row of nine columns.

How the questions of one family are made is in the family's module; how they are drawn is in ``generator``.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Split: TypeAlias = Literal["train", "validation"]

DATASET = "runner-questions"
LICENSE = "apache-2.0"

FENCE = "```python"


@dataclass(frozen=True)
class Test:
    """One hidden test: ``solve(*arguments)`` must equal ``expected``."""

    __test__ = False  # keeps pytest from collecting it

    arguments: tuple[JSON, ...]
    expected: JSON


@dataclass(frozen=True)
class NativeForm:
    """The same question as the base knows it, without a word of instruction: text to continue, and its reading.

    ``literal`` is None when prompt and continuation together are the program.  Otherwise the program returns
    the literal that follows this marker in the continuation.
    """

    prompt: str
    literal: str | None = None


@dataclass(frozen=True)
class Question:
    """One question, all of it rebuilt from the family, the split and a seed.

    ``sequence`` names the operations in order, without their constants: train and validation share none.
    ``program`` is the commented program that the base learns from; it holds no question.
    """

    statement: str
    trace: str
    closing: str
    solution: str
    program: str
    sequence: tuple[str, ...]
    tests: tuple[Test, ...]
    native: NativeForm

    @property
    def difficulty(self) -> str:
        """easy, medium or hard, by the number of operations."""
        depth = len(self.sequence)
        return "easy" if depth <= 2 else "medium" if depth == 3 else "hard"

    @property
    def output(self) -> str:
        """The whole answer: the trace in its tags, a sentence, one fenced block."""
        return f"<think>\n{self.trace}\n</think>\n{self.closing}\n\n{FENCE}\n{self.solution}```"


def row(question: Question, question_id: str, family: str, split: Split) -> dict[str, str]:
    """The nine columns of OpenCodeReasoning."""
    return {
        "id": question_id,
        "input": question.statement,
        "output": question.output,
        "source": family,
        "license": LICENSE,
        "dataset": DATASET,
        "split": split,
        "difficulty": question.difficulty,
        "solution": question.solution,
    }

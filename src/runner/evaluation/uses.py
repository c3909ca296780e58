"""Ready instructions for what tuned models are used for: teaching, code review, finding a fault.

They stand within the one prompt of training; what is asked, and streaming the answer, is ``runner generate``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.data.template import THINK_CLOSE, prompt_text

UseName: TypeAlias = Literal["tutor", "reviewer", "debugger"]


@dataclass(frozen=True)
class Use:
    """An instruction that comes before what is asked, and the words that lead over to it.

    ``numbered`` gives every line that follows its number, so that an answer can point at lines without counting.
    """

    instruction: str
    lead: str
    numbered: bool = False


USES: Mapping[UseName, Use] = {
    "tutor": Use(
        "You are tutoring a student. The aim is that the student could solve the next question of this kind alone.\n"
        "1. Say in one sentence what the question comes down to.\n"
        "2. Explain the way to the answer in short numbered steps. Give the reason for each step, and follow one "
        "small example through all of them.\n"
        "3. Name the mistake that is easiest to make here.\n"
        "4. Show the finished program, with a comment where each step happens.\n"
        "5. Close with exactly one short question that checks whether the main idea was understood. Leave it "
        "unanswered.",
        "The student asks:",
    ),
    "reviewer": Use(
        "Review the code below. Its lines are numbered; the numbers are not part of it.\n"
        "List the faults that you can show, the most serious first, one a line, in this form:\n"
        "line N (bug, risk or style): what is wrong; an input for which it matters; what to change\n"
        "A bug gives a wrong result or an exception, a risk does so for unusual input or at scale, style is about "
        "reading. Judge what the code does, not what its names promise. If there is no fault, say so and invent "
        "none.\n"
        "After the list show the code with the bugs and risks mended, and everything else as it was.",
        "The code:",
        numbered=True,
    ),
    "debugger": Use(
        "The program below does not do what it should. Find out why, and repair it.\n"
        "1. Say what the program is meant to do, and what it does instead.\n"
        "2. Follow it on the smallest input that shows the fault, value by value, up to the first wrong one.\n"
        "3. Name the statement that is at fault, and the cause in one sentence.\n"
        "4. Show the whole repaired program. Change only what the cause asks for.\n"
        "5. Give the result of the repaired program for the same input.",
        "The program, and what is known of the fault:",
    ),
}


@dataclass(frozen=True)
class Turn:
    """A question of a chat and the text that the model gave for it."""

    question: str
    answer: str


def question_for(use: UseName | None, asked: str, before: Sequence[Turn] = ()) -> str:
    """What is asked, as one question: the instruction of ``use``, the turns so far without their thoughts, ``asked``.

    Models here are trained on single questions, so a chat has to become one.
    """
    chosen = USES[use] if use is not None else None
    first, *later = [*(turn.question for turn in before), asked]
    parts = [] if chosen is None else [chosen.instruction, chosen.lead]
    parts.append(number_lines(first) if chosen is not None and chosen.numbered else first.strip())
    for turn, question in zip(before, later, strict=True):
        parts += ["Your answer to this was:", _without_thoughts(turn.answer), "Then I asked:", question.strip()]
    return "\n\n".join(parts)


def prompt_for(use: UseName | None, asked: str, before: Sequence[Turn] = ()) -> str:
    """``question_for`` in the prompt of training; it ends with the opened think tag."""
    return prompt_text(question_for(use, asked, before))


def number_lines(text: str) -> str:
    """Every line behind its number, from 1; empty lines at both ends are left out."""
    lines = text.strip("\n").splitlines()
    width = len(str(len(lines)))
    return "\n".join(f"{number:>{width}} | {line}".rstrip() for number, line in enumerate(lines, 1))


def _without_thoughts(answer: str) -> str:
    """What follows the closing think tag; all of an answer that has none."""
    _, closed, rest = answer.partition(THINK_CLOSE)
    return (rest if closed else answer).strip()

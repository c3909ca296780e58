"""The sentences of questions, traces and native prompts, in several wordings.

What is asked is drawn in the families; the phrases of the single steps stand at the operations.
"""

from collections.abc import Sequence
from random import Random

from runner.data.questions.operation import Kind
from runner.data.questions.pipeline import Chain

INPUTS: dict[Kind, tuple[str, ...]] = {
    "numbers": ("a list of numbers", "a list of whole numbers", "some numbers in a list"),
    "text": ("a text", "a string", "a piece of text"),
    "brackets": ("a string of brackets", "a row of brackets"),
    "n": ("a whole number n", "a number n", "a positive integer n"),
}

OPENINGS = (
    "Write a function solve({argument}) that takes {input}. It should {steps}. Return the result.",
    "Given {input}, {steps}. Write solve({argument}) that returns the result.",
    "Implement solve({argument}). For {input}: {steps}. Return what you get.",
    "You get {input}. Your function solve({argument}) must {steps}, and return the outcome.",
    "I have {input} and need Python code. Please {steps}. Name the function solve.",
    "Task: {steps}. The input is {input}. Define solve({argument}) and return the answer.",
)
LISTED = (
    "Write solve({argument}) for {input}. Steps:\n{steps}\nReturn the result.",
    "Take {input} and follow this list.\n{steps}\nReturn the outcome from solve({argument}).",
)


def join_phrases(random: Random, phrases: Sequence[str]) -> str:
    """One clause that names all phrases in order."""
    *head, last = phrases
    if not head:
        return last
    match random.randrange(4):
        case 0:
            return f"{', then '.join(head)}, then {last}"
        case 1:
            return f"first {', next '.join(head)}, finally {last}"
        case 2:
            return f"{', '.join(head)} and then {last}"
        case _:
            return f"{'; '.join(head)}; after that {last}"


def ask(random: Random, kind: Kind, phrases: Sequence[str]) -> str:
    """A question for a program on an input of ``kind`` that does what ``phrases`` say, in order."""
    source = random.choice(INPUTS[kind])
    if random.random() < 0.25:
        steps = "\n".join(f"{number}. {phrase}" for number, phrase in enumerate(phrases, 1))
        return random.choice(LISTED).format(argument=kind, input=source, steps=steps)
    steps = join_phrases(random, phrases)
    return random.choice(OPENINGS).format(argument=kind, input=source, steps=steps)


def plan(chain: Chain) -> str:
    """The steps as the program's own comments, one a line: the heart of every trace."""
    return "\n".join(f"# {step.comment}" for step in chain)


def header(phrases: Sequence[str]) -> str:
    """The phrases as a comment block, the native way to say what a program will do."""
    return "".join(f"# {phrase}\n" for phrase in phrases)


def remark(random: Random, chain: Chain) -> str:
    """What stands above a program of the base's texts: its steps one a line, or in one sentence."""
    phrases = [step.wording(random) for step in chain]
    return header(phrases if random.random() < 0.5 else [join_phrases(random, phrases)])

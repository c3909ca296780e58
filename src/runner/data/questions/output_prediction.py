"""Family: say what a given program returns for a given list of small numbers.

The programs are short chains of list operations whose results can be written down step by step.
"""

from dataclasses import replace
from random import Random

from runner.data.questions.number_operations import NUMBERS, REDUCTIONS
from runner.data.questions.operation import each
from runner.data.questions.pipeline import Chain, extend, names, values_of, write_code
from runner.data.questions.question import NativeForm, Question, Test

EASY = ("reverse", "first", "last", "drop-first", "drop-last", "rotate", "sort-up", "sort-down")
SMALL = {name: each(2) for name in ("first", "last", "drop-first", "drop-last")}
STEPS = tuple(
    replace(operation, choices=SMALL.get(operation.name, operation.choices))
    for operation in NUMBERS
    if operation.name in EASY
)
ENDS = tuple(operation for operation in REDUCTIONS if operation.name in ("count", "largest", "smallest"))

MARKER = "# returns "
CLOSING = "It returns {value}."

QUESTIONS = (
    "What does solve({argument}) return?\n\n```python\n{code}```",
    "Predict the output of solve({argument}) for this program.\n\n```python\n{code}```",
    "Here is a program.\n\n```python\n{code}```\n\nSay what solve({argument}) gives.",
    "Read the code and tell the value of solve({argument}).\n\n```python\n{code}```",
)


def draw(random: Random) -> Chain:
    """A chain of one to three easy steps, sometimes ending with a number."""
    depth = random.choice((1, 2, 2, 3))
    reduced = depth > 1 and random.random() < 0.3
    chain: Chain = ()
    for _ in range(depth - reduced):
        chain = extend(random, chain, STEPS, "numbers")
    return extend(random, chain, ENDS, "numbers") if reduced else chain


def write_question(random: Random, chain: Chain) -> Question:
    """The question what the program of ``chain`` returns; the answer is a function without parameters."""
    argument = [random.randint(0, 9) for _ in range(random.randint(3, 4))]
    values = values_of(chain, argument)
    code = write_code(chain, commented=True)
    start = f"# start: {argument}\n"
    worked = "".join(f"# {step.comment}: {value}\n" for step, value in zip(chain, values, strict=True))
    return Question(
        statement=random.choice(QUESTIONS).format(argument=argument, code=code),
        trace=f"{start}{worked}".rstrip(),
        closing=CLOSING.format(value=values[-1]),
        solution=f"def solve():\n    return {values[-1]}\n",
        program=f"{code}\n{start}{worked}{MARKER}{values[-1]}\n",
        sequence=names(chain),
        tests=(Test((), values[-1]),),
        native=NativeForm(f"{code}\n{start}", literal=MARKER),
    )

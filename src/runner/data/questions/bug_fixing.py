"""Family: a program with one wrong step is given with what it should do; the answer is the right program.

The chains come from the pipeline and loop families, the mistakes from the operations' ``slips``.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from runner.data.questions import integer_loops, list_pipelines, string_pipelines
from runner.data.questions.operation import fill
from runner.data.questions.pipeline import Chain, draw_argument, draw_tests, names, values_of, write_code
from runner.data.questions.question import NativeForm, Question, Test
from runner.data.questions.wording import header, join_phrases, plan, remark

DRAWS = (list_pipelines.draw, string_pipelines.draw, integer_loops.draw)
CLOSING = "Here is the fixed function."
ATTEMPTS = 40  # random inputs tried until one shows the bug

QUESTIONS = (
    "This program should {steps}. It has a bug. Fix it.\n\n```python\n{code}```",
    "Find and fix the bug. The code should {steps}.\n\n```python\n{code}```",
    "```python\n{code}```\n\nThe function above gives wrong results. It must {steps}. Correct it.",
    "My function should {steps}, but it fails its tests. Repair it.\n\n```python\n{code}```",
)


@dataclass(frozen=True)
class Bug:
    """The wrong program, the number of its wrong step, and an input for which it goes wrong."""

    step: int
    code: str
    argument: Any


def draw(random: Random) -> Chain:
    """A chain of at most three steps of another family, at least one of which can go wrong."""
    while True:
        chain = random.choice(DRAWS)(random)
        if len(chain) <= 3 and any(step.operation.slips for step in chain):
            return chain


def write_question(random: Random, chain: Chain) -> Question | None:
    """The question to repair a program of ``chain``; None when no mistake in it changes a result."""
    bug = _draw_bug(random, chain)
    if bug is None:
        return None
    solution = write_code(chain, commented=True)
    phrases = [step.wording(random) for step in chain]
    found = f"# step {bug.step + 1} had a bug"
    *tests, _ = draw_tests(random, chain)
    return Question(
        statement=random.choice(QUESTIONS).format(steps=join_phrases(random, phrases), code=bug.code),
        trace=f"{plan(chain)}\n{found}",
        closing=CLOSING,
        solution=solution,
        program=f"{remark(random, chain)}{found}\n{solution}",
        sequence=names(chain),
        tests=(*tests, Test((bug.argument,), values_of(chain, bug.argument)[-1])),
        native=NativeForm(header(phrases) + "def solve("),
    )


def _draw_bug(random: Random, chain: Chain) -> Bug | None:
    """One of the possible mistakes, in random order the first that some input shows."""
    mistakes = [(number, slip) for number, step in enumerate(chain) for slip in step.operation.slips]
    for number, slip in random.sample(mistakes, len(mistakes)):
        code = write_code(chain, commented=False, replaced={number: fill(slip, chain[number].constants)})
        solve = compile_program(code)
        for _ in range(ATTEMPTS):
            argument = draw_argument(random, chain[0].operation.takes)
            if not _agrees(solve, argument, values_of(chain, argument)[-1]):
                return Bug(number, code, argument)
    return None


def compile_program(code: str) -> Any:
    """The function ``solve`` of a program written by this package; never used for code from elsewhere."""
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace["solve"]


def _agrees(solve: Any, argument: Any, expected: Any) -> bool:
    try:
        return bool(solve(argument) == expected)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return False

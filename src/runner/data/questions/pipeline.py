"""Programs as chains of steps: drawing a chain, writing it as code, running it on values.

The text of questions is in ``wording``; which operations a family chains is in the family.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, TypeAlias

from runner.data.questions.operation import Kind, Operation, Step, choose
from runner.data.questions.question import Test

Chain: TypeAlias = tuple[Step, ...]

INDENT = "    "
TESTS = 8  # hidden tests of a question
WORDS = (
    "apple", "bear", "Cat", "dog", "elm", "Fish", "goat", "hill", "Ink", "jar", "kite", "lamp", "Moon", "nest",
    "oak", "pear", "queen", "Rose", "sun", "tree", "a", "to", "Lion", "banana", "letter", "summer",
)  # fmt: skip


def names(chain: Chain) -> tuple[str, ...]:
    """The operation sequence: names in order, without constants."""
    return tuple(step.operation.name for step in chain)


def extend(random: Random, chain: Chain, pool: Sequence[Operation], kind: Kind) -> Chain:
    """``chain`` with one more step out of ``pool`` that takes ``kind`` and repeats no operation of the chain."""
    used = names(chain)
    fitting = [operation for operation in pool if operation.takes == kind and operation.name not in used]
    return (*chain, choose(random, random.choice(fitting)))


def write_code(chain: Chain, *, commented: bool, replaced: Mapping[int, str] | None = None) -> str:
    """The function ``solve`` that does the steps in order, ending with a newline.

    ``replaced`` gives other code for the steps of those numbers: a program with a bug.
    """
    lines = [f"def solve({chain[0].operation.takes}):"]
    lines += [INDENT + step.operation.start for step in chain if step.operation.start]
    depth = 1
    for number, step in enumerate(chain):
        if commented:
            lines.append(INDENT * depth + "# " + step.comment)
        code = (replaced or {}).get(number, "").splitlines() or step.code
        lines += [INDENT * depth + line for line in code]
        depth = _depth_after(step, code[-1], depth)
    lines.append(f"{INDENT}return {chain[-1].operation.gives}")
    return "\n".join(lines) + "\n"


def _depth_after(step: Step, last_line: str, depth: int) -> int:
    """Steps on the loop variable stay in the block that their last line opens; other steps leave it."""
    if step.operation.gives != "i":
        return 1
    return depth + 1 if last_line.endswith(":") else depth


def values_of(chain: Chain, argument: Any) -> list[Any]:
    """The value after each step, computed by the operations and not by the code."""
    values, value = [], argument
    for step in chain:
        value = step.apply(value)
        values.append(value)
    return values


def draw_argument(random: Random, kind: Kind) -> Any:
    """A random input of ``solve`` of that kind."""
    match kind:
        case "numbers":
            return [random.randint(-9, 20) for _ in range(random.randint(2, 8))]
        case "text":
            return " ".join(random.choice(WORDS) for _ in range(random.randint(1, 5)))
        case "brackets":
            return "".join(random.choice("(()") for _ in range(random.randint(1, 5))) + "".join(
                random.choice("())") for _ in range(random.randint(1, 6))
            )
        case _:
            return random.randint(2, 40)


SMALLEST: Mapping[str, tuple[Any, ...]] = {
    "numbers": ([], [7]),
    "text": ("", "sun"),
    "brackets": ("", "()"),
    "n": (1, 2),
}


def draw_tests(random: Random, chain: Chain) -> tuple[Test, ...]:
    """``TESTS`` tests of the chain: the smallest inputs of its kind, then random ones."""
    kind = chain[0].operation.takes
    arguments = list(SMALLEST[kind])
    while len(arguments) < TESTS:
        arguments.append(draw_argument(random, kind))
    return tuple(Test((argument,), values_of(chain, argument)[-1]) for argument in arguments)

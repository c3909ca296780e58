"""Operations and the steps that a program is made of: how each is worded, commented, coded and computed.

Which operations exist is in ``number_operations``, ``text_operations`` and the families.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["numbers", "number", "text", "words", "n", "i", "brackets"]
Constants: TypeAlias = tuple[int | str, ...]

PLACEHOLDERS = ("{a}", "{b}", "{c}")


@dataclass(frozen=True)
class Operation:
    """One thing a program does to its value.

    A kind is also the name of the variable that holds such a value.  In ``comment``, ``wordings`` and ``code``
    the placeholders {a}, {b}, {c} stand for the constants, of which ``choices`` lists the allowed tuples.
    ``apply(value, *constants)`` computes the result without the code, so that tests do not repeat its mistakes.
    ``slips`` are the code with a typical mistake in it, for bug fixing.  ``start`` is a line that must stand
    before the first step, for the variable that a loop fills.
    """

    name: str
    takes: Kind
    gives: Kind
    comment: str
    code: str
    apply: Callable[..., Any]
    wordings: tuple[str, ...] = ()
    choices: Sequence[Constants] = ((),)
    slips: tuple[str, ...] = ()
    start: str = ""


def assignment(
    takes: Kind,
    gives: Kind,
    name: str,
    comment: str,
    code: str,
    apply: Callable[..., Any],
    wordings: tuple[str, ...],
    choices: Sequence[Constants] = ((),),
    slips: tuple[str, ...] = (),
) -> Operation:
    """An operation of one assignment; ``code`` and ``slips`` are the right-hand sides."""
    lines = tuple(f"{gives} = {slip}" for slip in slips)
    return Operation(name, takes, gives, comment, f"{gives} = {code}", apply, wordings, choices, lines)


@dataclass(frozen=True)
class Step:
    """An operation with its constants chosen."""

    operation: Operation
    constants: Constants

    @property
    def comment(self) -> str:
        return fill(self.operation.comment, self.constants)

    @property
    def code(self) -> tuple[str, ...]:
        """The lines of code, not indented."""
        return tuple(fill(self.operation.code, self.constants).splitlines())

    def wording(self, random: Random) -> str:
        """One way to ask for the step, an imperative phrase."""
        return fill(random.choice((self.operation.comment, *self.operation.wordings)), self.constants)

    def apply(self, value: Any) -> Any:
        return self.operation.apply(value, *self.constants)


def fill(text: str, constants: Constants) -> str:
    """``text`` with the placeholders replaced; no other brace is touched."""
    for placeholder, constant in zip(PLACEHOLDERS, constants, strict=False):
        text = text.replace(placeholder, str(constant))
    return text


def choose(random: Random, operation: Operation) -> Step:
    """The operation with one of its choices of constants."""
    return Step(operation, random.choice(operation.choices))


def each(*values: int | str) -> tuple[Constants, ...]:
    """Choices of one constant."""
    return tuple((value,) for value in values)

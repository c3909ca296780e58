"""A problem that a model is asked to solve with a program, and how a program for it is checked.

Reading suites of problems from files is ``suites``'s, running programs ``sandbox``'s.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.data.questions import Test
from runner.evaluation.sandbox.programs import AssertedProgram, CallProgram, Example, Program, ScriptProgram

SuiteFormat: TypeAlias = Literal["held-out", "humaneval", "mbpp", "stdin-stdout", "output-prediction"]


@dataclass(frozen=True)
class CallCheck:
    """``function`` called on the arguments of every test must give its expected JSON value."""

    tests: tuple[Test, ...]
    function: str = "solve"


@dataclass(frozen=True)
class PrintCheck:
    """The script, run on every example's standard input, must print its output, but for whitespace."""

    examples: tuple[Example, ...]


@dataclass(frozen=True)
class AssertCheck:
    """``tests``, trusted code, must run to its end; it finds ``names`` in the program."""

    tests: str
    names: tuple[str, ...]


Check: TypeAlias = CallCheck | PrintCheck | AssertCheck
Continuation: TypeAlias = Literal["program", "function", "literal"]


@dataclass(frozen=True)
class NativePrompt:
    """The problem as text that an untuned base continues, without a word of instruction.

    ``continuation`` says how what follows becomes a program.  program: prompt and continuation together are it.
    function: the same, and it ends where the function that the prompt opened ends.  literal: the program's
    ``solve()`` returns the literal that follows ``marker`` in the continuation (at its start where empty).
    """

    text: str
    continuation: Continuation
    marker: str = ""


@dataclass(frozen=True)
class Problem:
    """One problem; ``statement`` is what is asked, in words, as it goes into the prompt of training.

    ``reference`` is a solution that must pass; None where the suite has none.  ``group`` is what results are
    told apart by (a family, a difficulty), empty where there is nothing.
    """

    id: str
    statement: str
    check: Check
    native: NativePrompt | None = None
    reference: str | None = None
    group: str = ""


@dataclass(frozen=True)
class Suite:
    """Problems of one source, in their order.

    ``fingerprint`` is sixteen hex digits that change with any problem.  ``weak`` says that passing means little:
    the tests are only the examples that the statement shows.  ``skipped`` counts by reason what was left out.
    """

    name: str
    format: SuiteFormat
    problems: tuple[Problem, ...]
    fingerprint: str
    source: str  # the file, or the data set, it was read from
    weak: bool = False
    skipped: tuple[tuple[str, int], ...] = ()


def program_of(problem: Problem, code: str) -> Program:
    """``code`` as an answer to ``problem``, ready for the sandbox."""
    match problem.check:
        case CallCheck(tests, function):
            return CallProgram(code, tests, function)
        case PrintCheck(examples):
            return ScriptProgram(code, examples)
        case AssertCheck(tests, names):
            return AssertedProgram(code, tests, names)

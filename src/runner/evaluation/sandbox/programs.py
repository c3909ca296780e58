"""Untrusted programs with their tests, of three kinds, and what came of each.

How they are run is in ``judging`` and ``assertions``, how their outputs are compared in ``outputs``.
"""

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.data.questions import Test

Outcome: TypeAlias = Literal["passed", "wrong answer", "exception", "syntax", "timeout", "memory"]
Isolation: TypeAlias = Literal["bubblewrap", "none"]


@dataclass(frozen=True)
class Verdict:
    """How one program fared; ``detail`` says what the first failed test or the error was."""

    outcome: Outcome
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"


@dataclass(frozen=True)
class CallProgram:
    """A program that defines ``function``; every test's output, a JSON value, must be the expected one."""

    code: str
    tests: tuple[Test, ...]
    function: str = "solve"


@dataclass(frozen=True)
class Example:
    """What a script is given on standard input, and what it must print, but for whitespace."""

    stdin: str
    stdout: str


@dataclass(frozen=True)
class ScriptProgram:
    """A script that is run anew for each of ``examples``."""

    code: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class AssertedProgram:
    """A program and trusted test code that passes by running to its end; it finds ``names`` in the program.

    No other name of the program reaches the test code: a program cannot replace what the tests are made of.
    """

    code: str
    tests: str
    names: tuple[str, ...]


Program: TypeAlias = CallProgram | ScriptProgram | AssertedProgram


def asked_names(reference: str, tests: str) -> tuple[str, ...]:
    """The names that ``tests`` use and that the reference solution defines: what a program has to provide.

    Raises ``SyntaxError`` when one of the two is not Python.
    """
    defined: set[str] = set()
    for node in ast.parse(reference).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined |= _stored(node.targets)
    return tuple(sorted(defined & _loaded(tests)))


def borrowed_names(program: AssertedProgram) -> tuple[str, ...]:
    """The names that the test code uses without a definition: modules that it expects to be there."""
    tree = ast.parse(program.tests)
    own = _stored([tree]) | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return tuple(sorted(_loaded(program.tests) - own - set(program.names) - set(dir(builtins))))


def _loaded(code: str) -> set[str]:
    return {
        node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _stored(trees: Sequence[ast.AST]) -> set[str]:
    names = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}

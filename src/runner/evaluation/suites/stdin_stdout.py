"""Competition problems in the formats of APPS and CodeContests: scripts by what they print, functions by calls.

Recognising the formats is ``reading``'s.
"""

import ast
from collections.abc import Sequence
from typing import Any

from runner.data.questions import Test
from runner.evaluation.problems import CallCheck, Check, PrintCheck, Problem
from runner.evaluation.sandbox.programs import Example
from runner.evaluation.suites.rows import NO_TESTS, Row, is_python

APPS_NEEDS = (("input_output",), ("question", "statement"))
CONTESTS_NEEDS = (
    ("content", "description", "question", "statement"),
    ("test", "tests", "public_tests", "private_tests", "generated_tests"),
)

NO_ARGUMENTS = "calls without a list of arguments"
BY_STREAMS = "Write a program that reads standard input and prints to standard output."

_METHODS_OF = "Solution"
# what LeetCode imports before a solution runs
_PRELUDE = (
    "import bisect, collections, functools, heapq, itertools, math, random, re, string\n"
    "from bisect import *\nfrom collections import *\nfrom functools import *\nfrom heapq import *\n"
    "from itertools import *\nfrom math import *\nfrom typing import *\n\n"
)
_PYTHON_3 = (3, "PYTHON3", "python3")  # CodeContests' number and names of the language


def read_apps(row: Row) -> Problem | str:
    """The problem of an APPS row, or why it holds none."""
    tests = row.structure("input_output")
    if not isinstance(tests, dict | None):
        raise row.fault("input_output is no object with inputs and outputs")
    inputs, outputs = (_listed(row, (tests or {}).get(name, []), name) for name in ("inputs", "outputs"))
    if len(inputs) != len(outputs):
        raise row.fault(f"input_output has {len(inputs)} inputs and {len(outputs)} outputs")
    if not inputs:
        return NO_TESTS
    function = (tests or {}).get("fn_name")
    starter = row.text("starter_code") if row.has("starter_code") else ""
    solutions = row.structure("solutions") or []
    check: Check
    if function:
        if not all(isinstance(arguments, list) for arguments in inputs):
            return NO_ARGUMENTS
        check = CallCheck(_calls(inputs, outputs, starter), str(function))
        asked = f"Write a function `{_signature(starter, str(function))}`."
    else:
        check = PrintCheck(_examples(row, inputs, outputs))
        asked = BY_STREAMS
    return Problem(
        id=row.id("id", "problem_id", "task_id"),
        statement=f"{row.text('question', 'statement').strip()}\n\n{asked}",
        check=check,
        reference=_reference(_listed(row, solutions, "solutions"), str(function) if function else None),
        group=_difficulty(row, "metadata"),
    )


def read_contests(row: Row) -> Problem | str:
    """The problem of a CodeContests row, or why it holds none."""
    examples: list[Example] = []
    for name in CONTESTS_NEEDS[1]:
        examples += _examples_of(row, name)
    if not examples:
        return NO_TESTS
    statement = row.text(*CONTESTS_NEEDS[0]).strip()
    return Problem(
        id=row.id("id", "name", "task_id"),
        statement=f"{statement}\n\n{BY_STREAMS}",
        check=PrintCheck(tuple(dict.fromkeys(examples))),
        reference=_reference(_contest_solutions(row), None),
        group=_difficulty(row, "labels"),
    )


def _examples_of(row: Row, name: str) -> Sequence[Example]:
    """Of one column: a list of pairs, or lists of inputs and of outputs."""
    match row.structure(name):
        case None | []:
            return ()
        case {"input": list(inputs), "output": list(outputs)} | {"inputs": list(inputs), "outputs": list(outputs)}:
            if len(inputs) != len(outputs):
                raise row.fault(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs")
            return _examples(row, inputs, outputs)
        case list(pairs) if all(isinstance(pair, dict) and {"input", "output"} <= pair.keys() for pair in pairs):
            inputs = [_stream(pair["input"], "stdin") for pair in pairs]
            return _examples(row, inputs, [_stream(pair["output"], "stdout") for pair in pairs])
    raise row.fault(f"{name} holds neither pairs of input and output nor a list of each")


def _stream(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else value


def _examples(row: Row, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Example, ...]:
    return tuple(
        Example(_streamed(row, given), _streamed(row, wanted)) for given, wanted in zip(inputs, outputs, strict=True)
    )


def _streamed(row: Row, value: Any) -> str:
    """A text, or the lines of one."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise row.fault(f"a test's input or output is {value!r}, not text")
    return value


def _calls(inputs: Sequence[list[Any]], outputs: Sequence[Any], starter: str) -> tuple[Test, ...]:
    """Codewars' rows hold each output in a list of one, LeetCode's, which start with a class, as it is."""
    wrapped = f"class {_METHODS_OF}" not in starter and all(
        isinstance(output, list) and len(output) == 1 for output in outputs
    )
    return tuple(
        Test(tuple(arguments), output[0] if wrapped else output)
        for arguments, output in zip(inputs, outputs, strict=True)
    )


def _signature(starter: str, function: str) -> str:
    """``function`` with the parameters that the starter code gives it, without their types."""
    code = f"{starter.rstrip()} pass"
    if is_python(code):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef) and node.name == function:
                return f"{function}({', '.join(part.arg for part in node.args.args if part.arg != 'self')})"
    return function


def _reference(solutions: Sequence[Any], function: str | None) -> str | None:
    """The first solution in Python 3 that defines ``function``, at its top or as a method."""
    for solution in solutions:
        if not isinstance(solution, str) or not is_python(solution):
            continue
        defined = {node.name for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        if function is None or function in defined:
            return solution
        if _METHODS_OF in defined:
            return f"{_PRELUDE}{solution}\n\n{function} = {_METHODS_OF}().{function}\n"
    return None


def _contest_solutions(row: Row) -> list[Any]:
    match row.structure("solutions"):
        case {"language": list(languages), "solution": list(solutions)}:
            return [code for language, code in zip(languages, solutions, strict=False) if language in _PYTHON_3]
        case list(solutions):
            return solutions
    return []


def _listed(row: Row, value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise row.fault(f"{name} is no list")
    return value


def _difficulty(row: Row, column: str) -> str:
    """The level in words, from the row or from what it says of itself in ``column``."""
    facts = row.structure(column)
    level = row.columns.get("difficulty") or (facts.get("difficulty") if isinstance(facts, dict) else None)
    return level if isinstance(level, str) else ""

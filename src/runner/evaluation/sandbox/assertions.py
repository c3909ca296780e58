"""A program in one box, the test code in a second one that calls it over pipes; the parent only hears the end.

A pass is the nonce that the test's box alone was given, and tells after the last line of the test code.
"""

import contextlib
import json
import marshal
import os
import secrets
from collections.abc import Iterator
from typing import Any

from runner.evaluation.sandbox.box import Order, opened, watch
from runner.evaluation.sandbox.programs import AssertedProgram, Verdict, borrowed_names
from runner.evaluation.sandbox.walls import Walls


def judge_asserted(walls: Walls, program: AssertedProgram, timeout_s: float) -> Verdict:
    """The verdict of the test code on the program; ``timeout_s`` is wall time for all of it.

    Raises ``SyntaxError`` when the test code is not Python: it is the suite's fault and no program's.
    """
    nonce = secrets.token_hex(16)
    with _boxes(walls, program, nonce, timeout_s) as (how, output):
        match how, _message(output):
            case "timeout", _:
                return Verdict("timeout", f"no end in {timeout_s} s")
            case "ended", {"kind": "ran through", "nonce": str(told)} if secrets.compare_digest(told, nonce):
                return Verdict("passed")
            case "ended", {"kind": ("wrong answer" | "exception" | "syntax" | "memory") as kind, "text": str(text)}:
                return Verdict(kind, text)
    return Verdict("exception", "the test code did not run to its end")


@contextlib.contextmanager
def _boxes(walls: Walls, program: AssertedProgram, nonce: str, timeout_s: float) -> Iterator[tuple[str, bytes]]:
    """How the test's box ended and what it said."""
    serving = {"code": program.code, "names": program.names, "timeout_s": timeout_s}
    testing = {
        "tests": program.tests,
        "names": program.names,
        "modules": borrowed_names(program),
        "nonce": nonce,
        "timeout_s": timeout_s,
    }
    with contextlib.ExitStack() as boxes:
        with contextlib.ExitStack() as pipes:
            questions, answers = _pipe(pipes), _pipe(pipes)
            candidate = _order("candidate", serving, questions[0], answers[1])
            tests = _order("testing", testing, answers[0], questions[1])
            _, tester = boxes.enter_context(opened(walls, candidate, tests))
        how, output, _ = watch(tester, timeout_s)
        yield how, output


def _order(module: str, request: dict[str, Any], reading: int, writing: int) -> Order:
    return Order(module, marshal.dumps(request), open_files=(reading, writing))


def _pipe(until: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        until.callback(os.close, end)
    return ends


def _message(output: bytes) -> Any:
    try:
        return json.loads(output)
    except ValueError:
        return None

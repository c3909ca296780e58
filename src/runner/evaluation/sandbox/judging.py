"""Untrusted programs run in boxes, many at a time; what they give is compared here, outside of the boxes.

One box under bubblewrap a program, one a standard input for scripts; test code has a box of its own.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runner.data.questions import Test
from runner.errors import UserError
from runner.evaluation.execution import same
from runner.evaluation.sandbox.assertions import judge_asserted
from runner.evaluation.sandbox.box import OUTPUT_BYTES, Ended, Order, run, sealed
from runner.evaluation.sandbox.programs import (
    CallProgram,
    Example,
    Outcome,
    Program,
    ScriptProgram,
    Verdict,
)
from runner.evaluation.sandbox.walls import Walls, built

BOXES_A_WORKER = 2  # a program and the tests that call it


def run_programs(programs: Sequence[Program], *, timeout_s: float = 4.0, workers: int | None = None) -> list[Verdict]:
    """The verdict on each program, in order.  No process of any of them is left.

    ``workers`` run side by side (default: one a core).  ``timeout_s`` is wall time for all tests of one program,
    of a script for each of its inputs; a script's first failure is its last run.
    Raises ``UserError`` where bubblewrap is missing or cannot work, ``SyntaxError`` for test code that is not Python.
    """
    count = max(1, min(workers or os.cpu_count() or 1, len(programs)))
    with built(BOXES_A_WORKER * count) as walls, ThreadPoolExecutor(count, initializer=walls.folders.enter) as pool:
        return list(pool.map(lambda program: _judge(walls, program, timeout_s), programs))


def check_sandbox() -> None:
    """Raises ``UserError``, with what to do about it, unless a right program passes and a wrong one fails here."""
    right, wrong = (CallProgram(f"def solve(n):\n    return n + {step}\n", (Test((1,), 2),)) for step in (1, 2))
    verdicts = run_programs([right, wrong], timeout_s=20.0)
    if [verdict.outcome for verdict in verdicts] != ["passed", "wrong answer"]:
        raise UserError(f"the sandbox judges wrongly ({verdicts[0]})", "trying two small programs", "report this")


def _judge(walls: Walls, program: Program, timeout_s: float) -> Verdict:
    match program:
        case CallProgram():
            return _judge_calls(walls, program, timeout_s)
        case ScriptProgram():
            return _judge_script(walls, program, timeout_s)
        case _:
            return judge_asserted(walls, program, timeout_s)


def _judge_calls(walls: Walls, program: CallProgram, timeout_s: float) -> Verdict:
    request = {
        "code": program.code,
        "function": program.function,
        "arguments": [list(test.arguments) for test in program.tests],
        "timeout_s": timeout_s,
    }
    ended = run(walls, Order("calls", json.dumps(request).encode()), timeout_s)
    if ended.how != "ended":
        return _stopped(ended, timeout_s)
    try:
        return _compare(program.tests, json.loads(ended.output))
    except (ValueError, RecursionError):
        return Verdict("exception", "the program gave no outputs that are plain JSON of usual depth")


def _compare(tests: Sequence[Test], message: Any) -> Verdict:
    match message:
        case {"kind": "answered", "outputs": list(outputs)} if len(outputs) == len(tests):
            for test, output in zip(tests, outputs, strict=True):
                if not same(output, test.expected):
                    return Verdict("wrong answer", f"{test.arguments!r} gave {output!r}, not {test.expected!r}"[:300])
            return Verdict("passed")
        case {"kind": ("exception" | "syntax" | "memory") as kind, "text": str(text)}:
            return Verdict(kind, text[:300])
    return Verdict("wrong answer", "not one output a test")


def _judge_script(walls: Walls, program: ScriptProgram, timeout_s: float) -> Verdict:
    request = json.dumps({"code": program.code, "timeout_s": timeout_s}).encode()
    for index, example in enumerate(program.examples):
        stdin = sealed(example.stdin.encode())
        try:
            ended = run(walls, Order("streams", request, stdin=stdin), timeout_s)
        finally:
            os.close(stdin)
        verdict = _compare_printed(example, ended, timeout_s)
        if not verdict.passed:
            return Verdict(verdict.outcome, f"input {index}: {verdict.detail}")
    return Verdict("passed")


def _compare_printed(example: Example, ended: Ended, timeout_s: float) -> Verdict:
    if ended.how != "ended":
        return _stopped(ended, timeout_s)
    if ended.exit_code != 0:
        return Verdict(*_failure(ended))
    if ended.output.split() != example.stdout.encode().split():
        printed = ended.output[:100].decode(errors="replace")
        return Verdict("wrong answer", f"printed {printed!r}, not {example.stdout[:100]!r}")
    return Verdict("passed")


def _failure(ended: Ended) -> tuple[Outcome, str]:
    """From the last line that Python wrote: it names the kind of a failure that is one anyway."""
    lines = ended.errors.decode(errors="replace").strip().splitlines()
    last = lines[-1][:300] if lines else f"exit code {ended.exit_code}"
    match last.partition(":")[0]:
        case "MemoryError":
            return "memory", last
        case "SyntaxError" | "IndentationError" | "TabError":
            return "syntax", last
    return "exception", last


def _stopped(ended: Ended, timeout_s: float) -> Verdict:
    if ended.how == "timeout":
        return Verdict("timeout", f"no end in {timeout_s} s")
    return Verdict("exception", f"more than {OUTPUT_BYTES} bytes of output")

"""Untrusted programs run in boxes, many at a time; what they give is compared in ``outputs``, outside of the boxes.

One box a program, one a standard input for scripts; test code has a box of its own.
"""

import functools
import hashlib
import marshal
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import MappingProxyType

from runner.data.questions import Test
from runner.errors import UserError
from runner.evaluation.sandbox.assertions import judge_asserted
from runner.evaluation.sandbox.box import Order, run
from runner.evaluation.sandbox.bubblewrap import bubblewrap
from runner.evaluation.sandbox.outputs import compare_answered, compare_printed
from runner.evaluation.sandbox.plain import plain
from runner.evaluation.sandbox.programs import CallProgram, Isolation, Program, ScriptProgram, Verdict
from runner.evaluation.sandbox.walls import Walls, sealed

BOXES_A_WORKER = 2  # a program and the tests that call it
BUILDERS: Mapping[Isolation, Callable[[int], AbstractContextManager[Walls]]] = MappingProxyType(
    {"bubblewrap": bubblewrap, "none": plain}
)


def run_programs(
    programs: Sequence[Program],
    *,
    timeout_s: float = 4.0,
    workers: int | None = None,
    walls: Isolation = "bubblewrap",
    progress: Callable[[int], None] | None = None,
) -> list[Verdict]:
    """The verdict on each program, in order.  No process of any of them is left.

    ``workers`` run side by side (default: one a core).  ``timeout_s`` is wall time for all tests of one program,
    of a script for each of its inputs; a script's first failure is its last run.  One that is not in time runs once
    more, alone, after the others: a busy machine is no verdict.  Equal programs with equal tests run once.
    ``walls`` "none" isolates from nothing; to be used where the programs may be trusted not to attack.
    ``progress`` gets the number of programs judged; if it raises, what runs is ended first, and no other begins.
    Raises ``UserError`` where programs cannot be started so, ``SyntaxError`` for test code that is not Python.
    """
    groups = list(_alike(programs).values())
    count = max(1, min(workers or len(os.sched_getaffinity(0)), len(groups)))
    verdicts: dict[int, Verdict] = {}
    with (
        BUILDERS[walls](BOXES_A_WORKER * count) as built,
        ThreadPoolExecutor(count, initializer=built.enter) as pool,
    ):
        try:
            for group, verdict in _judge_all(built, pool, programs, groups, timeout_s):
                verdicts.update(dict.fromkeys(group, verdict))
                if progress is not None:
                    progress(len(verdicts))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [verdicts[index] for index in range(len(programs))]


def check_sandbox() -> None:
    """Raises ``UserError``, with what to do about it, unless a right program passes and a wrong one fails here."""
    right, wrong = (CallProgram(f"def solve(n):\n    return n + {step}\n", (Test((1,), 2),)) for step in (1, 2))
    verdicts = run_programs([right, wrong], timeout_s=20.0)
    if [verdict.outcome for verdict in verdicts] != ["passed", "wrong answer"]:
        raise UserError(f"the sandbox judges wrongly ({verdicts[0]})", "trying two small programs", "report this")


@functools.cache
def sandbox_works() -> str | None:
    """None where bubblewrap works here, else why not, in one line; found out once."""
    try:
        check_sandbox()
    except UserError as error:
        return error.what
    return None


def _alike(programs: Sequence[Program]) -> dict[bytes, list[int]]:
    """The places of equal programs.  Told apart by their text, for ``True`` equals 1 and is another output."""
    places: dict[bytes, list[int]] = {}
    for index, program in enumerate(programs):
        key = hashlib.sha256(repr(program).encode("utf-8", "surrogatepass")).digest()
        places.setdefault(key, []).append(index)
    return places


def _judge_all(
    walls: Walls, pool: ThreadPoolExecutor, programs: Sequence[Program], groups: list[list[int]], timeout_s: float
) -> Iterator[tuple[list[int], Verdict]]:
    """Each group with the verdict on its program: first those in time, in order, then the others."""
    judge = functools.partial(_judge, walls, timeout_s)
    late = []
    for group, verdict in zip(groups, pool.map(judge, [programs[group[0]] for group in groups]), strict=True):
        if verdict.outcome == "timeout":
            late.append(group)
        else:
            yield group, verdict
    for group in late:
        yield group, pool.submit(judge, programs[group[0]]).result()


def _judge(walls: Walls, timeout_s: float, program: Program) -> Verdict:
    match program:
        case CallProgram():
            return _judge_calls(walls, program, timeout_s)
        case ScriptProgram():
            return _judge_script(walls, program, timeout_s)
        case _:
            return judge_asserted(walls, program, timeout_s)


def _judge_calls(walls: Walls, program: CallProgram, timeout_s: float) -> Verdict:
    arguments = [test.arguments for test in program.tests]
    request = {"code": program.code, "function": program.function, "arguments": arguments, "timeout_s": timeout_s}
    return compare_answered(program, run(walls, Order("calls", marshal.dumps(request)), timeout_s), timeout_s)


def _judge_script(walls: Walls, program: ScriptProgram, timeout_s: float) -> Verdict:
    request = marshal.dumps({"code": program.code, "timeout_s": timeout_s})
    for index, example in enumerate(program.examples):
        stdin = sealed(example.stdin.encode())
        try:
            ended = run(walls, Order("streams", request, stdin=stdin), timeout_s)
        finally:
            os.close(stdin)
        verdict = compare_printed(example, ended, timeout_s)
        if not verdict.passed:
            return Verdict(verdict.outcome, f"input {index}: {verdict.detail}")
    return Verdict("passed")

"""Programs against hidden tests, in plain subprocesses with limits; outputs are compared here, outside of them.

This bounds accidents and simple cheats.  It does not isolate the file system or the network.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from runner.data.questions import Test

Outcome: TypeAlias = Literal["passed", "wrong answer", "exception", "syntax", "timeout"]

SERVER = Path(__file__).with_name("candidate_server.py")
START_S = 10.0  # allowed for starting a server and for its own work


@dataclass(frozen=True)
class Verdict:
    """How one program fared; ``detail`` says what the first failed test or the error was."""

    outcome: Outcome
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"


@dataclass(frozen=True)
class Candidate:
    """A program that defines ``solve``, and its tests."""

    code: str
    tests: tuple[Test, ...]


def run_solution(code: str, tests: Sequence[Test], *, timeout_s: float = 4.0) -> Verdict:
    """The verdict on one program; ``timeout_s`` is wall time for all of its tests."""
    return run_solutions([Candidate(code, tuple(tests))], timeout_s=timeout_s)[0]


def run_solutions(
    candidates: Sequence[Candidate], *, timeout_s: float = 4.0, workers: int | None = None
) -> list[Verdict]:
    """The verdict on each program, in order.  No process of any of them is left.

    ``workers`` servers run side by side (default: one a core); ``timeout_s`` is wall time for one program.
    """
    shares = max(1, min(workers or os.cpu_count() or 1, math.ceil(len(candidates) / 4)))
    verdicts: list[Verdict | None] = [None] * len(candidates)
    with ThreadPoolExecutor(shares) as pool:
        parts = [candidates[share::shares] for share in range(shares)]
        for share, judged in enumerate(pool.map(lambda part: _run_share(part, timeout_s), parts)):
            verdicts[share::shares] = judged
    return [verdict for verdict in verdicts if verdict is not None]


def _run_share(candidates: Sequence[Candidate], timeout_s: float) -> list[Verdict]:
    """One server after another until all are judged: a program that takes its server down costs only itself."""
    verdicts: list[Verdict] = []
    while len(verdicts) < len(candidates):
        left = candidates[len(verdicts) :]
        lines = _serve(left, timeout_s)
        verdicts += [_judge(candidate, line) for candidate, line in zip(left, lines, strict=False)]
        if len(lines) < len(left):
            verdicts.append(Verdict("exception", "the program ended its server"))
    return verdicts


def _serve(candidates: Sequence[Candidate], timeout_s: float) -> list[dict[str, str]]:
    """The whole answer lines of one server, at most one a candidate; fewer when it ended early."""
    programs = [{"code": c.code, "arguments": [list(t.arguments) for t in c.tests]} for c in candidates]
    request = json.dumps({"programs": programs, "timeout_s": timeout_s})
    server = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    try:
        output, _ = server.communicate(request.encode(), timeout=START_S + len(candidates) * (timeout_s + 0.5))
    except subprocess.TimeoutExpired:
        server.kill()
        output, _ = server.communicate()
    return [json.loads(line) for line in output.split(b"\n")[:-1]][: len(candidates)]


def _judge(candidate: Candidate, line: dict[str, str]) -> Verdict:
    """The verdict on what the server reports; only outputs equal to the expected ones pass."""
    match line["kind"]:
        case "answered":
            return _compare(candidate.tests, line["text"])
        case "syntax" | "exception" | "timeout" as outcome:
            return Verdict(outcome, line["text"][:300])
        case kind:
            return Verdict("exception", f"unknown report {kind}")


def _compare(tests: Sequence[Test], text: str) -> Verdict:
    try:
        return _compare_outputs(tests, json.loads(text))
    except (ValueError, RecursionError):
        return Verdict("exception", "the outputs are not plain JSON of usual depth")


def _compare_outputs(tests: Sequence[Test], outputs: Any) -> Verdict:
    if not isinstance(outputs, list) or len(outputs) != len(tests):
        return Verdict("wrong answer", "not one output a test")
    for test, output in zip(tests, outputs, strict=True):
        if not same(output, test.expected):
            return Verdict("wrong answer", f"solve{test.arguments!r} gave {output!r}, not {test.expected!r}"[:300])
    return Verdict("passed")


def same(output: Any, expected: Any) -> bool:
    """Equality of JSON values in which True is not 1, and 1.0 is 1."""
    if isinstance(output, bool) or isinstance(expected, bool):
        return output is expected
    if isinstance(output, list) and isinstance(expected, list):
        return len(output) == len(expected) and all(map(same, output, expected))
    if isinstance(output, dict) and isinstance(expected, dict):
        return output.keys() == expected.keys() and all(same(output[key], expected[key]) for key in expected)
    return bool(output == expected)

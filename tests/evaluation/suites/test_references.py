"""Every reference of real suites passes its own checks in the sandbox; RUNNER_TEST_DATA names their folder."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from runner.evaluation.problems import Suite, program_of
from runner.evaluation.sandbox import run_programs
from runner.evaluation.suites import read_suite
from runner.evaluation.suites.examples import examples_in

DATA = Path(os.environ.get("RUNNER_TEST_DATA", ""))
TIMEOUT_S = 20.0

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif("RUNNER_TEST_DATA" not in os.environ, reason="RUNNER_TEST_DATA names no folder of suites"),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


def failures(suite: Suite) -> tuple[int, dict[str, str]]:
    """How many references ran, and what became of those that did not pass."""
    problems = [problem for problem in suite.problems if problem.reference is not None]
    programs = [program_of(problem, problem.reference or "") for problem in problems]
    verdicts = run_programs(programs, timeout_s=TIMEOUT_S)
    told = zip(problems, verdicts, strict=True)
    return len(problems), {problem.id: str(verdict) for problem, verdict in told if not verdict.passed}


@pytest.mark.parametrize(("split", "count"), [("test", 500), ("train", 374), ("validation", 90), ("prompt", 10)])
def test_the_references_of_mbpp_pass(split: str, count: int) -> None:
    suite = read_suite(DATA / "mbpp.jsonl", split=split)
    assert suite.skipped == ()
    assert failures(suite) == (count, {})


def test_the_references_of_competition_problems_pass() -> None:
    suite = read_suite(DATA / "apps_samples.jsonl")
    assert suite.skipped == ()
    assert failures(suite) == (5, {})


def test_the_examples_of_competition_statements_are_among_the_tests() -> None:
    """An input that a statement shows is in the suite's tests; some outputs are one of several right ones."""
    known: Counter[str] = Counter()
    for name in ("apps_samples.jsonl", "code_contests_samples.jsonl"):
        for problem in read_suite(DATA / name).problems:
            tests = {tuple(example.stdin.split()) for example in getattr(problem.check, "examples", ())}
            if tests:
                shown = examples_in(problem.statement.rpartition("\n\n")[0])
                assert shown, problem.id
                known.update("known" if tuple(each.stdin.split()) in tests else "unknown" for each in shown)
    assert known == {"known": 45}

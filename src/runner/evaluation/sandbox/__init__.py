"""Untrusted programs, under bubblewrap or without: outputs are judged outside, test code runs apart from them.

Reading test suites and counting passes are not here.
"""

from runner.evaluation.sandbox.judging import check_sandbox, run_programs, sandbox_works
from runner.evaluation.sandbox.programs import (
    AssertedProgram,
    CallProgram,
    Example,
    Isolation,
    Outcome,
    Program,
    ScriptProgram,
    Verdict,
    asked_names,
)

__all__ = [
    "AssertedProgram",
    "CallProgram",
    "Example",
    "Isolation",
    "Outcome",
    "Program",
    "ScriptProgram",
    "Verdict",
    "asked_names",
    "check_sandbox",
    "run_programs",
    "sandbox_works",
]

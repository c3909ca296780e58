"""What a program gave against what it should have given; only what is equal passes.

What is compared came out of a box as bytes: no code of the program takes part.
"""

import json
from typing import Any

from runner.evaluation.sandbox.box import OUTPUT_BYTES, Ended
from runner.evaluation.sandbox.programs import CallProgram, Example, Outcome, Verdict


def compare_answered(program: CallProgram, ended: Ended, timeout_s: float) -> Verdict:
    """The verdict on the values that a program's function returned."""
    if ended.how != "ended":
        return _stopped(ended, timeout_s)
    try:
        match json.loads(ended.output):
            case {"kind": "answered", "outputs": list(outputs)}:
                return _compare_values(program, outputs)
            case {"kind": ("syntax" | "memory" | "exception") as kind, "text": str(text)}:
                return Verdict(kind, text[:300])
    except (ValueError, RecursionError):
        return Verdict("exception", "the outputs are not plain JSON of usual depth")
    return Verdict("exception", "the program ended without an answer")


def compare_printed(example: Example, ended: Ended, timeout_s: float) -> Verdict:
    """The verdict on what a script printed."""
    if ended.how != "ended":
        return _stopped(ended, timeout_s)
    if ended.exit_code != 0:
        return Verdict(*_failure(ended))
    if ended.output.split() != example.stdout.encode().split():
        printed = ended.output[:100].decode(errors="replace")
        return Verdict("wrong answer", f"printed {printed!r}, not {example.stdout[:100]!r}")
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


def _compare_values(program: CallProgram, outputs: list[Any]) -> Verdict:
    if len(outputs) != len(program.tests):
        return Verdict("wrong answer", "not one output a test")
    for test, output in zip(program.tests, outputs, strict=True):
        if not same(output, test.expected):
            told = f"{program.function}{test.arguments!r} gave {output!r}, not {test.expected!r}"
            return Verdict("wrong answer", told[:300])
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

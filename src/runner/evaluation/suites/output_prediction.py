"""CRUXEval's format: say what a given function returns for a given input.

Recognising the format is ``reading``'s.
"""

from runner.evaluation.problems import AssertCheck, NativePrompt, Problem
from runner.evaluation.suites.rows import NO_TESTS, TESTS_NOT_PYTHON, Row, is_python

NEEDS = (("code",), ("input",), ("output",))


def read(row: Row) -> Problem | str:
    """The problem of a row, or why it holds none."""
    code, given, output = row.text("code").strip(), row.text("input").strip(), row.text("output").strip()
    if not output:
        return NO_TESTS
    tests = f"assert solve() == {output}\n"
    if not is_python(tests) or not is_python(f"f({given})"):
        return TESTS_NOT_PYTHON
    return Problem(
        id=row.id("id"),
        statement=(
            f"Here is a program.\n\n```python\n{code}\n```\n\nWhat does `f({given})` return? Answer with a function "
            "that returns this value, written out as a literal:\n\ndef solve():\n    return <literal>"
        ),
        check=AssertCheck(tests, ("solve",)),
        # no blank at the end: a tokenizer puts it at the head of the value's first token
        native=NativePrompt(f"{code}\nassert f({given}) ==", "literal"),
        reference=f"def solve():\n    return {output}\n",
    )

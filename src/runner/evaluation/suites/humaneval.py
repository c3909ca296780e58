"""HumanEval's format: complete a function, checked by test code that defines ``check``.

Recognising the format is ``reading``'s.
"""

import ast

from runner.evaluation.problems import AssertCheck, NativePrompt, Problem
from runner.evaluation.suites.rows import NO_TESTS, REFERENCE_NOT_PYTHON, TESTS_NOT_PYTHON, Row, is_python

NEEDS = (("task_id",), ("prompt",), ("entry_point",), ("test",))


def read(row: Row) -> Problem | str:
    """The problem of a row, or why it holds none."""
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    tests = row.text("test")
    reference = prompt + row.text("canonical_solution") if row.has("canonical_solution") else None
    if not tests.strip():
        return NO_TESTS
    checked = f"{_before(prompt, entry_point)}\n{tests}\ncheck({entry_point})\n"
    if not is_python(checked):
        return TESTS_NOT_PYTHON
    if reference is not None and not is_python(reference):
        return REFERENCE_NOT_PYTHON
    return Problem(
        id=row.id("task_id"),
        statement=(
            f"Complete the function `{entry_point}`. Give the whole program: the function with its signature, and "
            f"every import and helper function that it needs.\n\n```python\n{prompt.rstrip()}\n```"
        ),
        check=AssertCheck(checked, (entry_point,)),
        native=NativePrompt(prompt, "function"),
        reference=reference,
    )


def _before(prompt: str, entry_point: str) -> str:
    """What the prompt defines before the function asked for: some tests call those helpers as the prompt has them."""
    head = prompt.rstrip()
    for whole in (head, f"{head} pass", f"{head}\n    pass"):
        if is_python(whole):
            names = [node for node in ast.parse(whole).body if isinstance(node, ast.FunctionDef)]
            line = next((node.lineno for node in names if node.name == entry_point), 1)
            return "\n".join(prompt.split("\n")[: line - 1])
    return ""

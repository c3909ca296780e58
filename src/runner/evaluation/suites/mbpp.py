"""MBPP's format: a function described in a sentence and three asserts; its splits are ranges of ids.

Recognising the format is ``reading``'s.
"""

from runner.data.template import with_tests
from runner.evaluation.problems import AssertCheck, NativePrompt, Problem
from runner.evaluation.sandbox.programs import asked_names
from runner.evaluation.suites.rows import NO_TESTS, REFERENCE_NOT_PYTHON, TESTS_NOT_PYTHON, Row, is_python

NEEDS = (("task_id",), ("text", "prompt"), ("code",), ("test_list",))
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}

NOTHING_TESTED = "tests use nothing that the reference defines"


def mbpp_split(task_id: int) -> str | None:
    """The split that a task belongs to (Austin et al., Program Synthesis with Large Language Models, 2021).

    None for an id beyond 974.
    """
    return next((name for name, (first, last) in SPLITS.items() if first <= task_id <= last), None)


def task_number(row: Row) -> int:
    """The id of a row.  Raises ``UserError`` when it is no whole number."""
    task_id = row.value("task_id")
    if not isinstance(task_id, int) or isinstance(task_id, bool):
        raise row.fault(f"task_id is {task_id!r}, not a whole number")
    return task_id


def read(row: Row) -> Problem | str:
    """The problem of a row, or why it holds none."""
    text, code = row.text("text", "prompt").strip(), row.text("code")
    setup = [row.text("test_setup_code")] if row.has("test_setup_code") else row.texts("test_imports")
    asserts = row.texts("test_list")
    if not asserts:
        return NO_TESTS
    tests = "\n".join([*(part.strip() for part in (*setup, *asserts) if part.strip()), ""])
    if not is_python(tests):
        return TESTS_NOT_PYTHON
    if not is_python(code):
        return REFERENCE_NOT_PYTHON
    names = asked_names(code, tests)
    if not names:
        return NOTHING_TESTED
    return Problem(
        id=str(task_number(row)),
        statement=with_tests(text, tests),
        check=AssertCheck(tests, names),
        native=NativePrompt(docstring(f"{text}\n{tests}"), "program"),
        reference=code,
    )


def docstring(text: str) -> str:
    """``text`` as a literal that Python reads as it stands, with a line of its own before the closing quotes."""
    raw = "r" if "\\" in text else ""
    return f'{raw}"""\n{text.replace(chr(34) * 3, chr(39) * 3).rstrip()}\n"""\n'

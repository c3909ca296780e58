"""What each format's rows become, which rows are left out, and what a user is told about a wrong file."""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.data.questions import Test
from runner.errors import UserError
from runner.evaluation.problems import AssertCheck, CallCheck, NativePrompt, PrintCheck, Problem
from runner.evaluation.sandbox.programs import Example
from runner.evaluation.suites import mbpp_split, read_suite
from runner.evaluation.suites.reading import FORMATS

HUMANEVAL = {
    "task_id": "Small/0",
    "prompt": (
        "import math\n\n\ndef half(x: float):\n    return x / 2\n\n\n"
        'def quarter(x: float):\n    """ A quarter of x.\n    >>> quarter(4)\n    1.0\n    """\n'
    ),
    "entry_point": "quarter",
    "canonical_solution": "    return half(half(x))\n",
    "test": "def check(candidate):\n    assert candidate(4) == 1\n    assert math.isclose(candidate(2), half(1))\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to add one.",
    "code": "STEP = 1\r\ndef add(n):\r\n    return n + STEP\r\n",
    "test_list": ["assert add(1) == 2", "assert add(-1) == 0 "],
    "test_setup_code": "",
    "challenge_test_list": ["assert add(1) == 3"],
}
APPS = {
    "id": "apps/0",
    "question": "Add the numbers.",
    "input_output": json.dumps({"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]}),
    "solutions": json.dumps(["print raw_input()", "print(sum(map(int, open(0).read().split())))"]),
    "metadata": {"difficulty": "interview"},
    "starter_code": None,
}
CODEWARS = {
    "id": "apps/1",
    "question": "Is it even?",
    "input_output": {"fn_name": "is_even", "inputs": [[1], [2]], "outputs": [[False], [True]]},
    "solutions": ["def is_odd(n): return n % 2", "def is_even(n):\n    return n % 2 == 0\n"],
    "starter_code": "def is_even(n):\n\t",
}
LEETCODE = {
    "id": "apps/2",
    "question": "The first of each.",
    "input_output": {"fn_name": "firsts", "inputs": [[[[1, 2]], 1], [[[3]], 1]], "outputs": [[1], [3]]},
    "solutions": ["class Solution:\n    def firsts(self, xs: List[List[int]], k: int) -> List[int]:\n"
                  "        return [x[0] for x in xs]\n"],
    "starter_code": "class Solution:\n    def firsts(self, xs: List[List[int]], k: int) -> List[int]:\n        ",
}  # fmt: skip
CONTESTS = {
    "content": "Double it.",
    "id": 7,
    "labels": '{"difficulty": "A", "name": "double"}',
    "test": json.dumps([{"input": {"stdin": f"{n}\n"}, "output": {"stdout": f"{2 * n}\n"}} for n in (1, 2, 1)]),
}
CONTESTS_BY_KIND = {
    "name": "9_A. Double",
    "description": "Double it.",
    "public_tests": {"input": ["1\n"], "output": ["2\n"]},
    "private_tests": {"input": [], "output": []},
    "generated_tests": {"input": ["5\n", "1\n"], "output": ["10\n", "2\n"]},
    "solutions": {"language": [2, 1, 3], "solution": ["int main(){}", "print 2", "print(2 * int(input()))"]},
    "difficulty": 7,
}
CRUXEVAL = {"code": "def f(xs):\n    return [x + 1 for x in xs], 'a'", "input": "[1, 2]", "output": "([2, 3], 'a')"}


def write(folder: Path, rows: Sequence[Mapping[str, Any] | str], name: str = "suite.jsonl") -> Path:
    """The rows as a file, texts as they are."""
    file = folder / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def names_of(code: str, names: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What ``code``, written in this file, defines."""
    found: dict[str, Any] = dict(names or {})
    exec(code, found)
    return found


def only(folder: Path, row: Mapping[str, Any]) -> Problem:
    (problem,) = read_suite(write(folder, [row])).problems
    return problem


def passes(problem: Problem, code: str) -> bool:
    """Whether test code runs to its end when it finds the names that it asks for, and no other, in ``code``."""
    assert isinstance(problem.check, AssertCheck)
    defined = names_of(code)
    try:
        names_of(problem.check.tests, {name: defined[name] for name in problem.check.names})
    except AssertionError:
        return False
    return True


def test_humaneval_asks_to_complete_the_function_and_calls_check(tmp_path: Path) -> None:
    problem = only(tmp_path, HUMANEVAL)
    assert problem.id == "Small/0"
    assert str(HUMANEVAL["prompt"]).rstrip() in problem.statement
    assert "Complete the function `quarter`" in problem.statement
    assert problem.native == NativePrompt(str(HUMANEVAL["prompt"]), "function")
    assert isinstance(problem.check, AssertCheck)
    assert problem.check.names == ("quarter",)
    assert problem.check.tests.endswith("check(quarter)\n")
    assert problem.reference is not None
    assert passes(problem, problem.reference)
    assert not passes(problem, problem.reference.replace("half(half(x))", "half(x)"))


def test_humaneval_s_tests_use_the_prompt_s_helpers_and_not_those_of_the_program(tmp_path: Path) -> None:
    assert passes(only(tmp_path, HUMANEVAL), "def half(x):\n    return -1\n\ndef quarter(x):\n    return x / 4\n")


def test_mbpp_shows_its_asserts_and_finds_the_names_they_use(tmp_path: Path) -> None:
    problem = only(tmp_path, MBPP)
    asserts = "assert add(1) == 2\nassert add(-1) == 0\n"
    assert problem.id == "11"
    assert problem.statement == f"Write a function to add one.\n\nYour code must pass these tests:\n\n{asserts}"
    assert problem.check == AssertCheck(asserts, ("add",))
    assert problem.native == NativePrompt(f'"""\nWrite a function to add one.\n{asserts}"""\n', "program")
    assert problem.reference is not None
    assert "\r" not in problem.reference
    assert passes(problem, problem.reference)
    assert not passes(problem, "def add(n):\n    return n\n")


def test_mbpp_s_set_up_and_imports_run_before_its_asserts(tmp_path: Path) -> None:
    row = MBPP | {"code": "class Node:\n    size = 1\n", "test_list": ["assert root.size == 1"]}
    set_up = only(tmp_path, row | {"test_setup_code": "root = Node()"})
    assert set_up.check == AssertCheck("root = Node()\nassert root.size == 1\n", ("Node",))
    sanitized = {key: value for key, value in MBPP.items() if key not in ("text", "test_setup_code")}
    row = sanitized | {
        "prompt": "Add.",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(add(1), 2)"],
    }
    assert passes(only(tmp_path, row), str(MBPP["code"]))


def test_a_stray_backslash_in_a_suite_s_code_warns_nobody(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        only(tmp_path, MBPP | {"code": "def add(n):\n    return '\\d' and n + 1\n"})


@pytest.mark.parametrize("text", ["a \\d and \\N{x}", 'three """ quotes"', "ends with \\", 'ends with "'])
def test_any_text_makes_a_native_prompt_that_parses(tmp_path: Path, text: str) -> None:
    native = only(tmp_path, MBPP | {"text": text}).native
    assert native is not None
    assert compile(native.text + "def add(n): pass\n", "prompt", "exec")


def test_mbpp_s_splits_are_ranges_of_ids(tmp_path: Path) -> None:
    edges = {1: "prompt", 10: "prompt", 11: "test", 510: "test", 511: "validation", 600: "validation"}
    edges |= {601: "train", 974: "train"}
    assert {task_id: mbpp_split(task_id) for task_id in edges} == edges
    assert (mbpp_split(0), mbpp_split(975)) == (None, None)
    file = write(tmp_path, [MBPP | {"task_id": task_id} for task_id in edges], "mbpp.jsonl")
    suite = read_suite(file, split="test")
    assert [problem.id for problem in suite.problems] == ["11", "510"]
    assert (suite.name, suite.format, suite.source, suite.weak) == ("mbpp-test", "mbpp", str(file), False)
    assert len(read_suite(file).problems) == len(edges)
    with pytest.raises(UserError, match=r"no split 'tset'.*prompt, test, validation, train"):
        read_suite(file, split="tset")
    with pytest.raises(UserError, match="only MBPP has splits"):
        read_suite(write(tmp_path, [CRUXEVAL]), split="test")


def test_apps_scripts_are_judged_by_what_they_print(tmp_path: Path) -> None:
    problem = only(tmp_path, APPS)
    assert problem.check == PrintCheck((Example("1 2\n", "3\n"), Example("3\n4", "7")))
    assert problem.reference == "print(sum(map(int, open(0).read().split())))"
    assert problem.group == "interview"
    assert problem.statement.startswith("Add the numbers.\n\n")
    assert "standard input" in problem.statement


def test_apps_functions_are_judged_by_calls(tmp_path: Path) -> None:
    problem = only(tmp_path, CODEWARS)
    assert problem.check == CallCheck((Test((1,), False), Test((2,), True)), "is_even")
    assert problem.statement.endswith("Write a function `is_even(n)`.")
    assert problem.reference is not None
    assert names_of(problem.reference)["is_even"](2) is True


def test_a_method_of_leetcode_is_asked_for_as_a_function(tmp_path: Path) -> None:
    problem = only(tmp_path, LEETCODE)
    assert problem.check == CallCheck((Test(([[1, 2]], 1), [1]), Test(([[3]], 1), [3])), "firsts")
    assert problem.statement.endswith("Write a function `firsts(xs, k)`.")
    assert problem.reference is not None
    assert names_of(problem.reference)["firsts"]([[1, 2]], 1) == [1]


def test_code_contests_tests_come_from_one_column_or_from_three(tmp_path: Path) -> None:
    one, three = only(tmp_path, CONTESTS), only(tmp_path, CONTESTS_BY_KIND)
    assert one.check == PrintCheck((Example("1\n", "2\n"), Example("2\n", "4\n")))
    assert (one.id, one.group, one.reference) == ("7", "A", None)
    assert three.check == PrintCheck((Example("1\n", "2\n"), Example("5\n", "10\n")))
    assert (three.id, three.group, three.reference) == ("9_A. Double", "", "print(2 * int(input()))")


def test_cruxeval_asks_for_the_value_as_a_literal(tmp_path: Path) -> None:
    problem = only(tmp_path, CRUXEVAL)
    assert problem.id == "line 1"
    assert "What does `f([1, 2])` return?" in problem.statement
    assert CRUXEVAL["code"] in problem.statement
    assert CRUXEVAL["output"] not in problem.statement
    assert problem.native == NativePrompt(f"{CRUXEVAL['code']}\nassert f([1, 2]) ==", "literal")
    assert problem.reference is not None
    assert passes(problem, problem.reference)
    assert not passes(problem, "def solve():\n    return [2, 3], 'b'\n")


EACH = [HUMANEVAL, MBPP, APPS, CONTESTS, CRUXEVAL]


@pytest.mark.parametrize(("row", "form"), list(zip(EACH, FORMATS, strict=True)))
def test_a_format_is_known_by_its_keys(tmp_path: Path, row: dict[str, Any], form: Any) -> None:
    file = write(tmp_path, [row, ""])
    assert read_suite(file).format == form.name
    assert [other.kind for other in FORMATS if other.fits(set(row))] == [form.kind]


UNUSABLE = [
    (HUMANEVAL, {"test": " "}, "no tests"),
    (HUMANEVAL, {"test": "def check(candidate)"}, "tests are not Python"),
    (HUMANEVAL, {"canonical_solution": "return (" }, "reference is not Python"),
    (MBPP, {"test_list": []}, "no tests"),
    (MBPP, {"test_list": None}, "no tests"),
    (MBPP, {"test_list": ["assert add(1) = 2"]}, "tests are not Python"),
    (MBPP, {"code": "print 1"}, "reference is not Python"),
    (MBPP, {"test_list": ["assert sub(1) == 0"]}, "tests use nothing that the reference defines"),
    (APPS, {"input_output": ""}, "no tests"),
    (APPS, {"input_output": {"inputs": [], "outputs": []}}, "no tests"),
    (APPS, {"input_output": {"fn_name": "f", "inputs": ["1"], "outputs": [1]}}, "calls without a list of arguments"),
    (CONTESTS, {"test": "[]"}, "no tests"),
    (CRUXEVAL, {"output": ""}, "no tests"),
    (CRUXEVAL, {"output": "<object>"}, "tests are not Python"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "change", "reason"), UNUSABLE)
def test_a_row_without_use_is_skipped_and_counted(
    tmp_path: Path, row: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    suite = read_suite(write(tmp_path, [row | change, row, row | change]))
    assert len(suite.problems) == 1
    assert suite.skipped == ((reason, 2),)
    with pytest.raises(UserError, match=re.escape(f"no usable problem (1 {reason})")):
        read_suite(write(tmp_path, [row | change]))


FAULTY: list[tuple[dict[str, Any], dict[str, Any] | str, str]] = [
    (MBPP, {"test_list": "assert 1"}, "column test_list holds \"assert 1\", not a list of texts"),
    (MBPP, {"task_id": "a"}, "task_id is 'a', not a whole number"),
    (MBPP, {"code": 3}, "column code holds 3, not text"),
    (MBPP, {}, "id 11 is that of line 1 too"),
    (MBPP, "{\"task_id\": 1", "the line is not JSON"),
    (MBPP, "[1, 2]", "the line holds [1, 2], not an object"),
    (HUMANEVAL, {"prompt": None}, "column prompt is missing"),
    (APPS, {"input_output": "{"}, "column input_output holds text that is not JSON"),
    (APPS, {"input_output": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0 outputs"),
    (APPS, {"input_output": {"inputs": [1], "outputs": [1]}}, "input or output is 1, not text"),
    (APPS, {"input_output": [1]}, "input_output is no object"),
    (CONTESTS, {"test": {"a": 1}}, "test holds neither pairs"),
    (CONTESTS, {"content": None}, "column content or description or question or statement is missing"),
    (CRUXEVAL, {"input": None}, "column input is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "change", "what"), FAULTY)
def test_a_faulty_row_names_its_line(
    tmp_path: Path, row: dict[str, Any], change: dict[str, Any] | str, what: str
) -> None:
    second = change if isinstance(change, str) else row | change
    with pytest.raises(UserError) as caught:
        read_suite(write(tmp_path, [row, "", second]))
    assert what in caught.value.what
    assert caught.value.where == f"{tmp_path / 'suite.jsonl'}, line 3"


def test_a_file_that_is_no_suite_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_suite(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="cannot be read"):
        read_suite(tmp_path)
    with pytest.raises(UserError, match="empty"):
        read_suite(write(tmp_path, [""]))
    with pytest.raises(UserError, match="HTML: a web page"):
        read_suite(write(tmp_path, ["<!DOCTYPE html>", "<html>"]))
    with pytest.raises(UserError, match=r"not JSON.*line 1.*JSONL"):
        read_suite(write(tmp_path, ["[", "{}", "]"]))
    compressed = tmp_path / "suite.jsonl.gz"
    compressed.write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(UserError, match="not text"):
        read_suite(compressed)


def test_unknown_keys_are_listed_beside_the_known_formats(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_suite(write(tmp_path, [{"instruction": "", "answer": ""}]))
    assert "no format fits the keys answer, instruction" in caught.value.what
    for form in FORMATS:
        assert f"{form.kind} ({form.needs[0][0]}" in caught.value.remedy
    assert "text or prompt" in caught.value.remedy


def test_a_limit_takes_the_first_usable_problems(tmp_path: Path) -> None:
    rows: list[Mapping[str, Any] | str] = [
        MBPP | {"task_id": 20, "test_list": []},
        *(MBPP | {"task_id": task_id} for task_id in (21, 22, 23)),
        MBPP,
        "{",
    ]
    suite = read_suite(write(tmp_path, rows), limit=2)
    assert [problem.id for problem in suite.problems] == ["21", "22"]
    with pytest.raises(UserError, match="no row was asked for"):
        read_suite(write(tmp_path, rows), limit=0)


def test_any_change_of_a_problem_changes_the_fingerprint(tmp_path: Path) -> None:
    rows = [MBPP, MBPP | {"task_id": 12}]
    changed = [
        rows,
        rows[::-1],
        rows[:1],
        [rows[0], rows[1] | {"text": "Add."}],
        [rows[0], rows[1] | {"test_list": ["assert add(1) == 2"]}],
        [rows[0], rows[1] | {"code": "def add(n): return n + 1"}],
    ]
    marks = {read_suite(write(tmp_path, each)).fingerprint for each in changed}
    assert len(marks) == len(changed)
    assert all(re.fullmatch("[0-9a-f]{16}", mark) for mark in marks)
    assert read_suite(write(tmp_path, rows, "other.jsonl")).fingerprint in marks

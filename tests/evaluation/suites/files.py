"""Small files in each format, written by the tests themselves, and references run in this process."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

"""Programs out of answers, and the reasons why there is none."""

import ast

import pytest

from runner.data.questions import FAMILIES, question_of
from runner.evaluation.answers import Missing, native_program, prediction_in, program_in
from runner.evaluation.problems import NativePrompt
from runner.evaluation.suites import built_in_suite

BLOCK = "```python\ndef solve():\n    return 1\n```"
PROGRAM = "def solve():\n    return 1\n"

HAS_HELPER = (
    "from typing import List\n\n\ndef double(x: int) -> int:\n    return 2 * x\n\n\n"
    'def total(xs: List[int]) -> int:\n    """ Sum of doubles.\n    >>> total([1])\n    2\n    """\n'
)


@pytest.mark.parametrize(
    ("answer", "cut", "found"),
    [
        (f"I think\n</think>\nHere.\n\n{BLOCK}", False, PROGRAM),
        (f"</think>\n```py\nold\n```\nBetter:\n{BLOCK}\nDone.", False, PROGRAM),
        (f"</think>\n{BLOCK}\nAnd so on, to the ca", True, PROGRAM),
        (
            "</think>\n1. So:\n   ```python\n   x = 1\n   if x:\n       x = 2\n   ```",
            False,
            "x = 1\nif x:\n    x = 2\n",
        ),
        (f"I try {BLOCK}", False, Missing("no think close")),
        (f"{BLOCK}</think> I do not know", False, Missing("no code")),
        ("</think>\n```python\ndef solve():\n    retu", True, Missing("cut")),
        ("</think>\n```python\ndef solve():\n    retu", False, Missing("no code")),
        ("I think and think", True, Missing("cut")),
        ("</think>\n```cpp\nint x;\n```", False, Missing("no code")),
        ("", False, Missing("no think close")),
        ("</think>\n\ndef solve():\r\n    return 1", False, PROGRAM),
        ("</think>\nprint(1)", False, "print(1)\n"),
        ("</think>\n\ndef solve():\n    return 1", True, Missing("cut")),
        ("</think>\nYes", False, Missing("no code")),
        ("</think>\n42", False, Missing("no code")),
        ("def solve():\n    return 1", False, Missing("no think close")),
    ],
)
def test_the_last_whole_block_after_the_thought_is_the_program(answer: str, cut: bool, found: str | Missing) -> None:
    assert program_in(answer, cut=cut) == found


def ran(program: str | Missing) -> dict[str, object]:
    """The names that ``program``, written in this file, defines."""
    assert isinstance(program, str)
    names: dict[str, object] = {}
    exec(program, names)
    return names


def function(prompt: str, continuation: str) -> str:
    found = native_program(NativePrompt(prompt, "function"), continuation)
    assert isinstance(found, str)
    return found


def test_a_function_ends_before_the_asserts_prints_and_prose_that_follow_it() -> None:
    for rest in (
        "\nassert total([1]) == 3\n",
        "\nprint(total([1])[0])\n",
        '\nif __name__ == "__main__":\n    import doctest\n    doctest.testmod(wrong)\n',
        "\nx = total(1)\n",
        "\nimport no_such_module\n",
        "\n```\n\nThis is the solution; it's simple.\n",
        '\n"""\nThe next task\n"""\n\ndef other(',
        "\n# Test\ntotal(None)\nclass Solution:\n    def f(self",
        "\ndef total(xs):\n    return 0\n",
    ):
        found = function(HAS_HELPER, "    return sum(double(x) for x in xs)\n" + rest)
        assert found == HAS_HELPER + "    return sum(double(x) for x in xs)\n", rest


def test_a_function_keeps_the_helpers_imports_and_constants_that_come_after_it() -> None:
    body = "    return sum(scaled(x) for x in xs) % MODULUS\n"
    after = (
        "\nprint(total([1]))\n\n@lru_cache\ndef scaled(x):\n    return factor() * x\n\nunused = total(1)\n"
        "from functools import lru_cache\n\ndef factor():\n    return 3\n\ndef unneeded():\n    pass\nMODULUS = 1000\n"
    )
    names = "from functools import lru_cache\n\n"
    found = function(names + HAS_HELPER, body + after)
    assert [line for line in found.splitlines() if line and line[0] not in " @"] == [
        "from functools import lru_cache",
        "from typing import List",
        "def double(x: int) -> int:",
        "def total(xs: List[int]) -> int:",
        "def scaled(x):",
        "def factor():",
        "MODULUS = 1000",
    ]
    assert "@lru_cache\ndef scaled" in found
    total = ran(found)["total"]
    assert callable(total)
    assert total([1, 2]) == 9


def test_text_at_column_0_inside_a_string_does_not_end_a_function() -> None:
    body = '    text = """\nprint(1)\n"""\n    return len(text)\n'
    assert function("def f():\n", body + "print(f())\n") == "def f():\n" + body


def test_a_function_with_a_mistake_stays_as_it_is_and_nothing_is_no_code() -> None:
    broken = function(HAS_HELPER, "    return sum(double(x for x in xs\n\nprint(total([1]))\n")
    with pytest.raises(SyntaxError):
        ast.parse(broken)
    assert broken.startswith(HAS_HELPER + "    return sum(")
    assert native_program(NativePrompt(HAS_HELPER, "function"), " \n\n") == Missing("no code")
    assert "\0" in function("def f():\n", "    return 1\0\n")


def program(continuation: str, prompt: str = '"""\nSay it.\nassert f(1) == 2\n"""\n') -> str:
    found = native_program(NativePrompt(prompt, "program"), continuation)
    assert isinstance(found, str)
    return found.removeprefix(prompt)


def test_a_program_ends_where_something_else_than_definitions_follows() -> None:
    wanted = (
        "import math\nN = 3\n\ndef g(x):\n    return x + M\n\nclass C:\n    pass\n\nM = 1\ndef f(x):\n    return g(x)\n"
    )
    for rest in (
        "\nassert f(1) == 3\ndef late(): pass\n",
        '\n"""\nSay more.\n"""\ndef f(x):\n    return 0\n',
        "\nprint(f(1))\n",
        "\nfor i in range(3):\n    print(f(i))\n",
        "\nresult = f(1)\nprint(result)\n",
        "\ndef f(x):\n    return 0\n",
        "\nresult = [f(1),\n",
        "\n```\nand that's it\n",
        "",
    ):
        assert program(wanted + rest) == wanted, rest


def test_constants_after_the_last_definition_stay_where_it_reads_them() -> None:
    wanted = "def f(x):\n    return x + M\n\nM = 1\n"
    assert program(wanted + "\ny = f(1)\nassert y\n") == wanted


def test_a_program_that_does_not_parse_is_left_to_the_sandbox() -> None:
    assert program("def f(x):\n    return (x\n") == "def f(x):\n    return (x\n\n"
    assert program("This is prose, and it's no code.\n").startswith("This is prose")
    assert program("f = lambda x: x + 1\n") == "f = lambda x: x + 1\n"
    assert native_program(NativePrompt("x", "program"), "\n") == Missing("no code")


@pytest.mark.parametrize(
    ("marker", "continuation", "value"),
    [
        ("", " [1, 2]\n\nprint(3)", "[1, 2]"),
        ("", " 'a, b', 'message'\n", "'a, b'"),
        ("", " (1, 2) # a pair", "(1, 2)"),
        ("", " [1,\n    2]\nassert f(2) == 3", "[1,\n    2]"),
        ("", " [1, 2", "[1, 2"),
        ("# returns ", "# first: [3]\n# returns 3\ndef solve", "3"),
    ],
)
def test_a_literal_becomes_what_solve_returns(marker: str, continuation: str, value: str) -> None:
    native = NativePrompt("assert f(1) ==", "literal", marker)
    assert native_program(native, continuation) == f"def solve():\n    return {value}\n"


def test_no_literal_is_no_code() -> None:
    assert native_program(NativePrompt("", "literal", "# returns "), "# I do not know\n") == Missing("no code")
    assert native_program(NativePrompt("", "literal", "# returns "), "# returns ") == Missing("no code")
    assert native_program(NativePrompt("", "literal"), "\n\n[1]") == Missing("no code")


def test_the_generator_s_own_programs_continue_its_native_prompts() -> None:
    for family in FAMILIES:
        for number in range(20):
            (problem,) = built_in_suite([f"{family.name}:validation:1:{number}"]).problems
            question = question_of(problem.id)
            assert problem.native is not None
            continuation = question.solution.partition("def solve(")[2]
            if problem.native.continuation == "literal":
                assert question.program.startswith(problem.native.text)
                continuation = question.program.removeprefix(problem.native.text)
            solve = ran(native_program(problem.native, continuation + "\nprint(solve)\n# more\n"))["solve"]
            assert callable(solve)
            assert all(solve(*test.arguments) == test.expected for test in question.tests)


def test_only_a_written_out_value_is_a_prediction() -> None:
    for value in ("1", "-1", "[1, {'a': (2,)}]", "set()", "{1}", "None", "'it''s'"):
        text = f"# so\ndef solve() -> object:\n    # it is\n    return {value}\n"
        assert prediction_in(text) == text
    for text in (
        "def f(x):\n    return x\n\ndef solve():\n    return f(1)\n",
        "def solve():\n    return len([1])\n",
        "def solve():\n    x = 1\n    return x\n",
        "def solve():\n    return [x for x in range(3)]\n",
        "def solve():\n    return {[]: 1}\n",
        "def other():\n    return 1\n",
        "solve = lambda: 1\n",
        "def solve(:\n",
        "",
    ):
        assert prediction_in(text) == Missing("no prediction"), text

"""Held-out questions as problems, and the examples read from the statements of several judges."""

import pytest

from runner.data.questions import FAMILIES, question_of
from runner.errors import UserError
from runner.evaluation.problems import CallCheck, NativePrompt, PrintCheck
from runner.evaluation.sandbox.programs import Example
from runner.evaluation.suites import built_in_suite, statement_suite
from runner.evaluation.suites.examples import examples_in

ABOUT = "Add the numbers.\n\nInput\n\nThe first line contains an integer n.\n\nOutput\n\nPrint a single integer.\n\n"
PAIRS = (Example("2\n1 2\n", "3\n"), Example("1\n5\n", "5\n"))

CODEFORCES = (
    ABOUT + "Examples\n\nInput\n\n\n2\n1 2\n\n\nOutput\n\n\n3\n\n\nInput\n\n1\n5\n\n\nOutput\n\n5\n\nNote\n\n"
    "In the first example the sum is 3.\n"
)
CODECHEF = (
    ABOUT
    + "Example\nInput:\n2\n1 2\n\nOutput:\n3\n\nInput:\n1\n5\n\nOutput:\n5\n\nExplanation\nIn the first case, 3.\n"
)
RULED = (
    "Add.\n\n-----Input-----\nThe first line of input contains n.\n\n-----Output-----\nPrint the sum.\n\n"
    "-----Examples-----\nInput\n2\n1 2\n\nOutput\n3\n\nInput\n1\n5\n\nOutput\n5\n\n\n\n-----Note-----\n\nNone.\n"
)
ATCODER = (
    "Add.\n\n-----Constraints-----\n - n < 3\n\n-----Input-----\nInput is given in this format:\nn\na_1 a_2\n\n"
    "-----Output-----\nPrint the sum.\n\n-----Sample Input-----\n2\n1 2\n\n-----Sample Output-----\n3\n\n"
    "The figure below shows how it is done.\nOther outputs are accepted too:\n4\n\n"
    "-----Sample Input-----\n1\n5\n\n-----Sample Output-----\n5\n"
)
NUMBERED = (
    ABOUT + "Sample Input 1:\n2\n1 2\nSample Output 1:\n3\nExplanation: one and two are three.\n\n"
    "Sample Input 2:\n1\n5\nSample Output 2:\n5\nNote that one number is its own sum.\n"
)
MARKDOWN = (
    "Add.\n\n## Input\n\nThe first line contains n.\n\n## Output\n\nPrint the sum.\n\n### Sample Input #1\n\n"
    "```\n2\n1 2\n```\n\n### Sample Output #1\n\n```\n3\n```\n\n### Sample Input #2\n\n```\n1\n5\n```\n\n"
    "### Sample Output #2\n\n```\n5\n```\n\n### Subtask\n\nNone at all.\n"
)
AIZU = (
    ABOUT + "Sample Input 1\n\n2\n1 2\n\n\nOutput for the Sample Input 1\n\n3\n\n\nSample Input 2\r\n\r\n1\r\n5\r\n\r\n"
    "\nOutput for the Sample Input 2\n\n5\n"
)


@pytest.mark.parametrize("statement", [CODEFORCES, CODECHEF, RULED, ATCODER, NUMBERED, MARKDOWN, AIZU])
def test_the_examples_of_a_judge_s_statements_are_read(statement: str) -> None:
    assert examples_in(statement) == PAIRS


def test_blank_lines_inside_an_example_stay() -> None:
    statement = ABOUT + "Example\n\nInput\n\n1\n\n2\n\nOutput\n\nCase 1:\n\nCase 2:\n\n3\n"
    assert examples_in(statement) == (Example("1\n\n2\n", "Case 1:\n\nCase 2:\n\n3\n"),)


@pytest.mark.parametrize(
    "statement",
    [
        "",
        ABOUT,
        "Example 1:\nInput: xs = [1, 2], k = 3\nOutput: 3\nExplanation: it is.\n",
        "For example, see below.\n\nExample\n\nThis is how sums work.\n\n" + ABOUT,
        "Add.\n\nInput\n\nn\na_1 a_2\n\nOutput\n\na_1 + a_2\n",
        ABOUT + "Examples\n\nInput\n\n2\n1 2\n",
        ABOUT + "Example\n\nInput\n\n\nOutput\n\n3\n",
    ],
)
def test_where_no_example_can_be_read_there_is_none(statement: str) -> None:
    assert examples_in(statement) == ()


def test_statements_make_a_weak_suite_of_those_with_examples() -> None:
    rows = [("q1", CODEFORCES, "codeforces"), ("q2", ABOUT, ""), ("q1", CODECHEF, ""), ("q3", CODECHEF, "codechef")]
    suite = statement_suite("held-out", "some/data", rows)
    assert [(problem.id, problem.group) for problem in suite.problems] == [("q1", "codeforces"), ("q3", "codechef")]
    assert all(problem.check == PrintCheck(PAIRS) for problem in suite.problems)
    assert suite.problems[0].statement == CODEFORCES
    assert suite.weak
    assert (suite.name, suite.format, suite.source) == ("held-out", "held-out", "some/data")
    assert dict(suite.skipped) == {"no example could be read from the statement": 1, "the id came before": 1}


def test_a_limit_counts_the_problems_and_not_the_statements() -> None:
    rows = [("q1", ABOUT, ""), ("q2", CODEFORCES, ""), ("q3", ABOUT, ""), ("q4", CODECHEF, ""), ("q5", CODECHEF, "")]
    suite = statement_suite("held-out", "some/data", rows, limit=2)
    assert [problem.id for problem in suite.problems] == ["q2", "q4"]
    assert dict(suite.skipped) == {"no example could be read from the statement": 2}


def test_built_in_questions_bring_their_hidden_tests_and_native_prompts() -> None:
    ids = [f"{family.name}:validation:3:{number}" for number in range(2) for family in FAMILIES]
    suite = built_in_suite(ids)
    assert [problem.id for problem in suite.problems] == ids
    assert (suite.format, suite.weak, suite.skipped) == ("held-out", False, ())
    for problem in suite.problems:
        question = question_of(problem.id)
        assert problem.check == CallCheck(question.tests)
        assert (problem.statement, problem.reference) == (question.statement, question.solution)
        assert problem.group == problem.id.split(":")[0]
        literal = problem.group == "output-prediction"
        assert problem.native == NativePrompt(
            question.native.prompt, "literal" if literal else "function", "# returns " if literal else ""
        )
    assert built_in_suite(ids[:-1]).fingerprint != suite.fingerprint
    with pytest.raises(UserError, match="names no built-in question"):
        built_in_suite(["q1"])

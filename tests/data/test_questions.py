"""The built-in questions: their answers are right, their splits disjoint, and they are the same everywhere."""

import subprocess
import sys
from collections import Counter, defaultdict
from random import Random

import pytest

from runner.data.questions import FAMILIES, family_of, hidden_tests, programs, question_of, rows
from runner.data.questions.bug_fixing import compile_program
from runner.data.questions.dynamic_and_stacks import CORES
from runner.data.questions.generator import is_held_out
from runner.data.questions.integer_loops import FILTERS, FOLDS, SOURCES, TERMS
from runner.data.questions.number_operations import NUMBERS, REDUCTIONS, SINGLE
from runner.data.questions.operation import Operation, choose
from runner.data.questions.pipeline import Chain, draw_argument, names, values_of, write_code
from runner.data.questions.programming import write_question
from runner.data.questions.text_operations import JOINS, MEASURES, SPLITS, TEXT, WORDS
from runner.errors import UserError

SAMPLE = 600
COLUMNS = {"id", "input", "output", "source", "license", "dataset", "split", "difficulty", "solution"}
STRAIGHT = (*NUMBERS, *REDUCTIONS, *SINGLE, *TEXT, *SPLITS, *WORDS, *JOINS, *MEASURES, *CORES)


def train_rows() -> list[dict[str, str]]:
    return list(rows("train", SAMPLE, 17))


def fenced(text: str) -> str:
    return text.rpartition("```python\n")[2].partition("```")[0]


def passes(code: str, question_id: str) -> bool:
    solve = compile_program(code)
    try:
        return all(solve(*test.arguments) == test.expected for test in hidden_tests(question_id))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return False


def argument_for(random: Random, operation: Operation) -> object:
    """A value of the kind that the operation takes, also of the kinds that no question starts with."""
    match operation.takes:
        case "words":
            return str(draw_argument(random, "text")).split()
        case "number":
            return random.randint(-40, 40)
        case kind:
            return draw_argument(random, kind)


def test_a_row_has_the_nine_columns_and_an_answer_in_the_agreed_form() -> None:
    for row in train_rows():
        assert set(row) == COLUMNS
        assert all(isinstance(value, str) and value for value in row.values())
        assert row["output"].startswith("<think>\n")
        assert row["output"].count("</think>") == 1
        thought, _, rest = row["output"].partition("</think>")
        assert len(thought.splitlines()) >= 2
        assert fenced(rest) == row["solution"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_solution_passes_its_hidden_tests(split: str) -> None:
    found = list(rows(split, SAMPLE, 3))  # type: ignore[arg-type]  # parametrize gives plain strings
    shares = Counter(row["source"] for row in found)
    assert all(abs(shares[family.name] - SAMPLE // len(FAMILIES)) < SAMPLE // 50 for family in FAMILIES)
    assert [row["id"] for row in found if not passes(row["solution"], row["id"])] == []


@pytest.mark.parametrize("operation", STRAIGHT, ids=lambda operation: operation.name)
def test_the_code_of_each_operation_computes_what_its_callable_computes(operation: Operation) -> None:
    random = Random(operation.name)
    for _ in range(30):
        chain = (choose(random, operation),)
        argument = argument_for(random, operation)
        assert compile_program(write_code(chain, commented=True))(argument) == values_of(chain, argument)[-1]


def test_the_code_of_each_loop_part_computes_what_its_callable_computes() -> None:
    random = Random(4)
    loops: list[Chain] = [
        tuple(choose(random, part) for part in (source, condition, term, fold))
        for source in SOURCES
        for condition in FILTERS
        for term in TERMS
        for fold in FOLDS
    ]
    for loop in loops:
        solve = compile_program(write_code(loop, commented=True))
        for n in (1, 9, 10, 37):
            assert solve(n) == values_of(loop, n)[-1], names(loop)


def test_train_and_validation_share_no_operation_sequence() -> None:
    trained = {question_of(row["id"]).sequence for row in rows("train", 3000, 1)}
    held_out = {question_of(row["id"]).sequence for row in rows("validation", SAMPLE, 2)}
    assert len(trained) > 1000
    assert len(held_out) > 200
    assert not trained & held_out
    assert all(is_held_out(sequence) for sequence in held_out)


def test_no_program_for_the_base_is_over_a_held_out_sequence() -> None:
    comments = {question_of(row["id"]).program for row in rows("validation", SAMPLE, 2)}
    assert not comments & {program["text"] for program in programs(3000, 1)}


def test_every_operation_of_validation_is_taught_in_train() -> None:
    taught = {name for row in rows("train", 3000, 1) for name in question_of(row["id"]).sequence}
    asked = {name for row in rows("validation", SAMPLE, 2) for name in question_of(row["id"]).sequence}
    assert asked <= taught


def test_thousands_of_questions_and_programs_are_distinct() -> None:
    assert len({row["input"] for row in rows("train", 4000, 17)}) == 4000
    assert len({row["input"] for row in rows("validation", 1000, 17)}) == 1000
    assert len({program["text"] for program in programs(4000, 17)}) == 4000


def test_another_seed_gives_other_questions() -> None:
    first, second = ({row["input"] for row in rows("train", SAMPLE, seed)} for seed in (1, 2))
    assert len(first & second) < SAMPLE // 10


def test_one_sequence_is_asked_in_several_wordings() -> None:
    by_name = {operation.name: operation for operation in STRAIGHT}
    chain = (choose(Random(1), by_name["keep-even"]), choose(Random(1), by_name["square"]))
    questions = [write_question(Random(number), chain) for number in range(60)]
    assert len({question.statement for question in questions}) > 40
    assert len({question.solution for question in questions}) == 1


def test_difficulty_rises_with_the_number_of_operations() -> None:
    depths = defaultdict(set)
    for row in train_rows():
        depths[row["difficulty"]].add(len(question_of(row["id"]).sequence))
    assert max(depths["easy"]) < min(depths["medium"]) <= max(depths["medium"]) < min(depths["hard"])


def test_the_program_of_a_bug_fixing_question_fails_the_hidden_tests() -> None:
    repairs = [row for row in train_rows() if row["source"] == "bug-fixing"]
    assert len(repairs) > SAMPLE // 10
    assert [row["id"] for row in repairs if passes(fenced(row["input"]), row["id"])] == []


def test_the_native_form_is_the_question_as_comments_and_code_alone() -> None:
    for row in train_rows():
        native = question_of(row["id"]).native
        lines = [line for line in native.prompt.splitlines() if line and not line.startswith((" ", "def ", "# "))]
        assert lines == []
        assert "solve" not in native.prompt.partition("def solve(")[0]


def test_programs_for_the_base_hold_no_question_and_no_answer_in_the_agreed_form() -> None:
    texts = [program["text"] for program in programs(SAMPLE, 17)]
    questions = [row["input"] for row in train_rows()]
    assert len(texts) == SAMPLE
    for text in texts:
        compile(text, "<program>", "exec")
        assert not any(line.startswith(("<think>", "</think>", "```")) for line in text.splitlines())
    assert not [question for question in questions if any(question in text for text in texts)]


def test_rows_are_the_same_in_another_process() -> None:
    code = (
        "import hashlib; from runner.data.questions import rows, hidden_tests, programs\n"
        "found = list(rows('train', 60, 5)), list(rows('validation', 60, 5)), list(programs(60, 5))\n"
        "print(hashlib.sha256(repr((found, [hidden_tests(r['id']) for r in found[1]])).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert digests != {""}


@pytest.mark.parametrize("bad", ["", "x", "list-pipelines:test:1:2", "nothing:train:1:2", "list-pipelines:train:1:x"])
def test_an_id_that_is_not_built_in_is_refused(bad: str) -> None:
    with pytest.raises(UserError, match="names no built-in question"):
        hidden_tests(bad)


def test_the_family_is_read_from_the_id() -> None:
    for row in rows("validation", 12, 0):
        assert family_of(row["id"]) == row["source"]

"""How rows of each format become prompt, thinking and answer."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from data_fakes import ByteEncoder, reasoning_row, write_jsonl

from runner.config.job import Columns, Data
from runner.data import PreparedData
from runner.data.formats import Sample, format_of, read_light, read_sample
from runner.data.prepare import prepare
from runner.data.rows import Rows
from runner.data.template import prompt_text
from runner.errors import UserError
from runner.evaluation.problems import Problem
from runner.evaluation.suites import mbpp
from runner.evaluation.suites.rows import Row


def sample_of(data: Data, row: dict[str, Any]) -> Sample | str:
    rows = Rows(pa.Table.from_pylist([row]), "a row")
    return read_sample(rows.table.to_pylist()[0], format_of(data, rows))


def test_open_code_reasoning_reads_the_nine_columns() -> None:
    sample = sample_of(Data(), reasoning_row(7))
    assert isinstance(sample, Sample)
    assert sample.prompt == prompt_text("Add 7 to the number that is read and print the sum.")
    assert (sample.answer.think, sample.answer.rest) == ("We add. \n</think>\n\n", "```python\nprint(7)\n```")
    assert (sample.question_id, sample.source, sample.difficulty) == ("q0007", "codeforces", "EASY")
    assert (sample.licence, sample.judgement) == ("cc-by-4.0", "")


@pytest.mark.parametrize(
    ("changes", "difficulty"),
    [
        ({"difficulty": "HARD"}, "HARD"),
        ({"pass_rate": "0.3"}, "pass rate 25-50 %"),
        ({"pass_rate": 1.0}, "pass rate 75-100 %"),
        ({"pass_rate": -1}, ""),
        ({"pass_rate": "n/a"}, ""),
        ({}, ""),
    ],
)
def test_open_code_reasoning_2_reads_judgement_and_pass_rate(changes: dict[str, Any], difficulty: str) -> None:
    row = {
        "question_id": "77",
        "question": "Sort.",
        "r1_generation": "<think>\nHm\n</think>\nx",
        "judgement": "right",
        **changes,
    }
    data = Data(format="open-code-reasoning-2")
    sample = sample_of(data, row)
    assert isinstance(sample, Sample)
    assert (sample.question_id, sample.judgement, sample.difficulty) == ("77", "right", difficulty)
    rows = Rows(pa.Table.from_pylist([row]), "a row")
    form = format_of(data, rows)
    light = read_light(next(iter(rows.scan(form.light_columns))), form)
    assert light.strata == [("", difficulty)]
    assert light.answer_bytes.tolist() == [len("<think>\nHm\n</think>\nx")]


def read(row: dict[str, Any], columns: Columns) -> Sample:
    sample = sample_of(Data(format="columns", columns=columns), row)
    assert isinstance(sample, Sample)
    return sample


def test_tests_stand_below_the_question_as_the_suite_shows_them() -> None:
    row = {
        "text": "Double it. ",
        "code": "def f(x):\n    return 2 * x",
        "test_list": ["assert f(1) == 2", "assert f(2) == 4"],
    }
    columns = Columns(prompt="text", response="code", tests="test_list")
    sample = read(row, columns)
    tests = "assert f(1) == 2\nassert f(2) == 4\n"
    assert sample.prompt == prompt_text(f"Double it.\n\nYour code must pass these tests:\n\n{tests}")
    problem = mbpp.read(Row(Path("mbpp.jsonl"), 1, {**row, "task_id": 1}))
    assert isinstance(problem, Problem)
    assert prompt_text(problem.statement) == sample.prompt
    assert read({**row, "test_list": [""]}, columns).prompt == prompt_text("Double it.")


def test_columns_name_the_question_the_answer_and_the_rest() -> None:
    columns = Columns(prompt="text", response="code", id="task_id", source="origin", difficulty="level")
    row = {"text": "Sort.", "code": "xs.sort()", "task_id": 12, "origin": "mbpp", "level": 3}
    sample = sample_of(Data(format="columns", columns=columns), row)
    assert isinstance(sample, Sample)
    assert (sample.question_id, sample.source, sample.difficulty) == ("12", "mbpp", "3")
    assert (sample.answer.think, sample.answer.rest) == ("</think>\n\n", "xs.sort()")


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Sort."},
    {"role": "assistant", "content": "xs.sort()"},
    {"role": "user", "content": "Reverse."},
    {"role": "assistant", "content": "<think>\nHm\n</think>\nxs.reverse()"},
]


def test_the_last_assistant_turn_answers_and_the_earlier_turns_ask() -> None:
    sample = sample_of(Data(format="chat"), {"messages": CHAT})
    assert isinstance(sample, Sample)
    turns = "Be brief.\n\nUser: Sort.\n\nAssistant: xs.sort()\n\nUser: Reverse."
    assert sample.prompt == prompt_text(turns)
    assert (sample.answer.think, sample.answer.rest) == ("Hm\n</think>\n", "xs.reverse()")


def test_a_chat_of_one_question_is_asked_without_names() -> None:
    sample = sample_of(Data(format="chat"), {"messages": CHAT[:3]})
    assert isinstance(sample, Sample)
    assert sample.prompt == prompt_text("Be brief.\n\nSort.")


def test_chats_are_prepared_and_one_without_an_answer_is_refused(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"Sort {n} numbers."}, {"role": "assistant", "content": "xs.sort()"}]}
        for n in range(30)
    ]
    data = Data(id=str(tmp_path / "chat.jsonl"), format="chat", max_length=1024, validation_questions=5)
    write_jsonl(tmp_path / "chat.jsonl", rows)
    prepared: PreparedData = prepare(data, ByteEncoder(), cache=tmp_path / "cache")
    assert (prepared.train.documents, prepared.validation.documents) == (25, 5)
    write_jsonl(tmp_path / "chat.jsonl", [*rows, {"messages": [{"role": "user", "content": "And?"}]}])
    with pytest.raises(UserError, match=r"1 of 31 rows cannot be used, 0.1% is the limit: 1 empty answer"):
        prepare(data, ByteEncoder(), cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("data", "row", "told"),
    [
        (Data(), {"id": "1", "question": "x", "output": "y"}, "column input is missing.*has the columns id, output, q"),
        (Data(format="chat"), {"prompt": "x"}, "column messages is missing"),
        (Data(format="columns"), {"prompt": ["x"], "response": "y"}, "column prompt holds list.*, not text"),
        (
            Data(format="columns", columns=Columns(tests="tests")),
            {"prompt": "x", "response": "y", "tests": [1, 2]},
            "column tests holds list.*, not texts",
        ),
        (
            Data(format="columns", columns=Columns(tests="tests")),
            {"prompt": "x", "response": "y"},
            "column tests is missing",
        ),
        (Data(format="chat"), {"messages": "x"}, "column messages holds string, not a list of"),
    ],
)
def test_columns_that_are_missing_or_of_another_kind_are_told(data: Data, row: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        sample_of(data, row)


@pytest.mark.parametrize("output", ["<think>\nfor ever", "<think>\nHm\n</think>\n\n"])
def test_an_answer_without_an_end_or_without_code_is_no_sample(output: str) -> None:
    assert sample_of(Data(), reasoning_row(1, output=output)) in ("thinking never closed", "empty answer")

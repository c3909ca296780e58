"""Counting solved questions: what is taken from an answer, and what is counted."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from runner.data.questions import question_of, rows
from runner.evaluation import passes
from runner.evaluation.passes import Missing, count_native_passes, count_passes, extract_code
from runner.evaluation.sandbox import Isolation, Program, Verdict
from runner.train.passes import record_of

IDS = tuple(row["id"] for row in rows("validation", 24, 17))


def answering(monkeypatch: pytest.MonkeyPatch, answers: Sequence[str]) -> None:
    """Let generation give these answers: here only what is made of them is tested."""

    def given(*_args: Any, **_options: Any) -> list[str]:
        return list(answers)

    monkeypatch.setattr(passes, "generate", given)


def body(question_id: str) -> str:
    """The true answer as a model continues it: the prompt already holds the opening tag."""
    return question_of(question_id).output.removeprefix("<think>\n")


def question_start(program: str) -> str:
    """Where the native prompt ends: at the example to work through, or in the first line of the function."""
    found = re.search(r"# start: .*\n|def solve\(", program.partition("\n\n")[2] or program)
    assert found
    return found.group()


def count(ids: Sequence[str] = IDS) -> passes.PassCount:
    return count_passes(None, None, ids, max_new_tokens=1)  # type: ignore[arg-type]  # generation is replaced


def test_true_answers_are_all_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, [body(question_id) for question_id in IDS])
    counted = count()
    assert (counted.solved, counted.questions, counted.failures) == (24, 24, {})
    assert len(counted.by_family) == 6
    assert all(family.solved == family.questions == 4 for family in counted.by_family.values())


def test_true_programs_in_the_native_form_are_all_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [question_of(question_id) for question_id in IDS]
    programs = [question.program if question.native.literal else question.solution for question in questions]
    answering(monkeypatch, [program.partition(question_start(program))[2] for program in programs])
    counted = count_native_passes(None, None, IDS, max_new_tokens=1)  # type: ignore[arg-type]
    assert (counted.solved, counted.failures) == (24, {})


def test_every_kind_of_failure_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    block = "done\n</think>\n```python\n{}\n```"
    answering(
        monkeypatch,
        [
            "I keep thinking",
            "done\n</think>\nno program",
            block.format("def solve(:"),
            block.format("def solve(*_):\n    return 'no'"),
            block.format("def solve(*_):\n    return 1 // 0"),
            block.format("def solve(*_):\n    while True: pass"),
            block.format("def solve(*_):\n    return bytearray(1 << 33)"),
        ],
    )
    counted = count(IDS[:7])
    kinds = ("no think close", "no code", "syntax", "wrong answer", "exception", "timeout", "memory")
    assert counted.solved == 0
    assert [answer.outcome for answer in counted.answers] == list(kinds)
    assert counted.failures == dict.fromkeys(sorted(kinds), 1)


def test_an_answer_to_another_question_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, [body(question_id) for question_id in (*IDS[1:], IDS[0])])
    assert count().solved == 0


@pytest.mark.parametrize("reason", [None, "bubblewrap (bwrap) is not installed"])
def test_programs_run_behind_walls_where_there_are_some_and_the_count_says_so(
    reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Isolation] = []

    def run(programs: Sequence[Program], *, walls: Isolation) -> list[Verdict]:
        built.append(walls)
        return [Verdict("passed")] * len(programs)

    answering(monkeypatch, [body(question_id) for question_id in IDS])
    monkeypatch.setattr(passes, "sandbox_works", lambda: reason)
    monkeypatch.setattr(passes, "run_programs", run)
    assert count().isolation == built[0] == ("none" if reason else "bubblewrap")


def test_the_record_of_a_run_says_what_programs_ran_in(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, [body(question_id) for question_id in IDS])
    monkeypatch.setattr(passes, "sandbox_works", lambda: "none here")
    recorded = record_of(count(), 500, "instruction")
    assert (recorded["solved"], recorded["isolation"]) == (24, "none")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("</think>```python\na\n```", "a\n"),
        ("```python\nthought\n```</think>```python\na\n``` or ```python\nb\n```", "b\n"),
        ("</think>```py\na\n```", "a\n"),
        ("```python\na\n```", Missing("no think close")),
        ("```python\na\n```</think>", Missing("no code")),
        ("</think>```python\nnever closed", Missing("no code")),
        ("", Missing("no think close")),
    ],
)
def test_the_last_block_after_thinking_is_the_program(answer: str, code: str | Missing) -> None:
    assert extract_code(answer) == code

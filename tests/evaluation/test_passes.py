"""The short count of solved questions: which answers count, which failures have which name."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
from torch import nn

from runner.data.questions import question_of, rows
from runner.evaluation import evaluate, passes
from runner.evaluation.generation import Completion
from runner.evaluation.passes import count_passes
from runner.evaluation.results import Arm
from runner.evaluation.sandbox import Isolation, Program, Verdict
from runner.train.passes import record_of

IDS = tuple(row["id"] for row in rows("validation", 24, 17))


def answering(monkeypatch: pytest.MonkeyPatch, answers: Sequence[str]) -> None:
    """Let generation give these answers: here only what is made of them is tested."""

    def given(*_args: Any, **_options: Any) -> list[tuple[Completion, ...]]:
        return [(Completion(tuple(range(len(answer))), answer, cut=False),) for answer in answers]

    monkeypatch.setattr(evaluate, "complete", given)


class Written:
    """A tokenizer of which only decoding is asked; no tag stands in what it gives."""

    bos_ids: tuple[int, ...] = ()
    eos_id = pad_id = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        raise AssertionError(texts)

    def decode(self, ids: Sequence[int]) -> str:
        return "." * len(ids)


def body(question_id: str) -> str:
    """The true answer as a model continues it: the prompt already holds the opening tag."""
    return question_of(question_id).output.removeprefix("<think>\n")


def question_start(program: str) -> str:
    """Where the native prompt ends: at the example to work through, or in the first line of the function."""
    found = re.search(r"# start: .*\n|def solve\(", program.partition("\n\n")[2] or program)
    assert found
    return found.group()


def count(ids: Sequence[str] = IDS, *, arm: Arm = "tuned") -> passes.PassCount:
    return count_passes(nn.Identity(), Written(), ids, max_new_tokens=1, arm=arm)


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
    counted = count(arm="native")
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
    assert counted.failures == dict.fromkeys(sorted(kinds), 1)


def test_an_answer_to_another_question_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, [body(question_id) for question_id in (*IDS[1:], IDS[0])])
    assert count().solved == 0


@pytest.mark.parametrize("reason", [None, "bubblewrap (bwrap) is not installed"])
def test_programs_run_behind_walls_where_there_are_some_and_the_count_says_so(
    reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Isolation] = []

    def run(programs: Sequence[Program], *, walls: Isolation, **_: Any) -> list[Verdict]:
        built.append(walls)
        return [Verdict("passed")] * len(programs)

    answering(monkeypatch, [body(question_id) for question_id in IDS])
    monkeypatch.setattr(passes, "sandbox_works", lambda: reason)
    monkeypatch.setattr(evaluate, "run_programs", run)
    assert count().isolation == built[0] == ("none" if reason else "bubblewrap")


def test_the_record_of_a_run_says_what_programs_ran_in(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, [body(question_id) for question_id in IDS])
    monkeypatch.setattr(passes, "sandbox_works", lambda: "none here")
    recorded = record_of(count(), 500, "instruction")
    assert (recorded["solved"], recorded["isolation"]) == (24, "none")

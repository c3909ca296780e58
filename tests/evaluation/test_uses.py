"""Ready instructions: within the prompt of training, and a chat as one question."""

import pytest

from runner.data.template import prompt_text
from runner.evaluation.uses import USES, Turn, UseName, number_lines, prompt_for, question_for

CODE = "def mean(values):\n    return sum(values) / len(values)"


@pytest.mark.parametrize("use", [*USES, None])
def test_every_use_ends_in_the_prompt_of_training(use: UseName | None) -> None:
    for before in ([], [Turn("What is a loop?", "thought</think>\n\nIt repeats.")]):
        prompt = prompt_for(use, CODE, before)
        assert prompt == prompt_text(question_for(use, CODE, before))
        assert prompt.endswith("### Response\n<think>\n")
        assert prompt.count("<think>") == 1
        assert "</think>" not in prompt


def test_there_are_the_three_uses_and_each_ends_as_it_should() -> None:
    assert set(USES) == {"tutor", "reviewer", "debugger"}
    assert "exactly one short question" in USES["tutor"].instruction
    assert "line N" in USES["reviewer"].instruction
    assert "whole repaired program" in USES["debugger"].instruction


def test_without_a_use_the_question_is_asked_as_it_is() -> None:
    assert question_for(None, f"\n{CODE}\n") == CODE


def test_a_reviewer_sees_numbered_lines_and_the_code_keeps_its_indentation() -> None:
    assert question_for("reviewer", CODE).endswith(
        "The code:\n\n1 | def mean(values):\n2 |     return sum(values) / len(values)"
    )
    assert "1 | def" not in question_for("debugger", CODE)
    assert number_lines("a\n" * 10).splitlines()[0] == " 1 | a"
    assert number_lines("a\n\nb") == "1 | a\n2 |\n3 | b"


def test_a_chat_becomes_one_question_without_the_thoughts_of_its_answers() -> None:
    turns = [Turn("What is a loop?", "long thoughts</think>\n\nIt repeats."), Turn("And a list?", "cut in its thou")]
    assert question_for(None, "And a tuple?", turns) == (
        "What is a loop?\n\nYour answer to this was:\n\nIt repeats.\n\nThen I asked:\n\nAnd a list?\n\n"
        "Your answer to this was:\n\ncut in its thou\n\nThen I asked:\n\nAnd a tuple?"
    )

"""The prompt and the parting of an answer."""

import pytest

from runner.data.template import Answer, prompt_text, split_answer, statement_in


def test_the_prompt_holds_the_question_and_ends_with_opened_thinking() -> None:
    prompt = prompt_text("  Sort the list.\n")
    assert prompt.endswith("\n\nSort the list.\n\n### Response\n<think>\n")
    assert prompt.index("### Instruction") < prompt.index("```python") < prompt.index("Sort the list.")
    assert prompt.count("<think>") == 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nSo: 1", Answer("Hm.\n</think>\n\n", "So: 1")),
        ("<think>Hm.</think>So: 1", Answer("Hm.</think>", "So: 1")),
        ("Hm.\n</think>\nSo: 1", Answer("Hm.\n</think>\n", "So: 1")),
        ("So: 1", Answer("</think>\n\n", "So: 1")),
        ("<think>\n</think>\nx </think> y", Answer("</think>\n", "x </think> y")),
    ],
)
def test_an_answer_is_parted_after_its_thinking(text: str, answer: Answer) -> None:
    assert split_answer(text) == answer


def test_thinking_that_never_closes_is_refused() -> None:
    assert split_answer("<think>\nfor ever") is None


def test_prompt_and_answer_joined_open_thinking_once() -> None:
    answer = split_answer("<think>\nHm.\n</think>\n\nSo: 1")
    assert answer is not None
    assert (prompt_text("Q") + answer.think + answer.rest).endswith("<think>\nHm.\n</think>\n\nSo: 1")
    assert (prompt_text("Q") + answer.think + answer.rest).count("<think>") == 1


def test_the_question_is_found_in_its_prompt() -> None:
    for question in ("Sort the list.", "### Response\n<think>\n", "a\n\nb"):
        assert statement_in(prompt_text(question)) == question.strip()
    assert statement_in("def f(): pass") is None
    assert statement_in(prompt_text("")) is None

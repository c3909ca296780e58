"""The one prompt of training and evaluation, and where an answer's thinking ends.

How a data set's row yields question and answer is left to ``formats``.
"""

import hashlib
import re
from dataclasses import dataclass

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

_OPENING = re.compile(r"\s*<think>\n?")
_CLOSING = re.compile(r"</think>\s*")
_NO_THOUGHT = f"{THINK_CLOSE}\n\n"


@dataclass(frozen=True)
class Answer:
    """What follows the prompt: ``think`` ends with the closing tag and the blank after it (empty: no prompt)."""

    think: str
    rest: str


def prompt_text(question: str) -> str:
    """The prompt of ``question``; it ends with the opened think tag, so an answer starts with thinking."""
    return (
        "You are a helpful programmer. Think step by step before you answer.\n\n"
        "### Instruction\n"
        "Please use python programming language only.\n"
        "You must use ```python for just the final solution code block.\n\n"
        f"{question.strip()}\n\n"
        f"### Response\n{THINK_OPEN}\n"
    )


def with_tests(question: str, tests: str) -> str:
    """``question`` with the ``tests`` that an answer must pass below it; without any, ``question`` as it is."""
    return f"{question}\n\nYour code must pass these tests:\n\n{tests}" if tests.strip() else question


def statement_in(prompt: str) -> str | None:
    """The question that ``prompt_text`` made ``prompt`` of; None for any other text."""
    before, after = prompt_text("\1").split("\1")
    if not (prompt.startswith(before) and prompt.endswith(after) and len(prompt) > len(before) + len(after)):
        return None
    return prompt[len(before) : len(prompt) - len(after)]


def template_fingerprint() -> str:
    """Changes with any change of the prompt's words or of how an answer is taken apart."""
    form = "\0".join((prompt_text("\1"), _OPENING.pattern, _CLOSING.pattern, _NO_THOUGHT))
    return hashlib.sha256(form.encode()).hexdigest()[:16]


def split_answer(text: str) -> Answer | None:
    """``text`` as thinking and the rest; None if thinking is opened and never closed.

    The leading ``<think>`` is removed, as the prompt already ends with it.  An answer without thinking gets
    an empty thought, so that it follows the same prompt.
    """
    opening = _OPENING.match(text)
    body = text[opening.end() :] if opening else text
    closing = _CLOSING.search(body)
    if closing is None:
        return None if opening else Answer(think=_NO_THOUGHT, rest=body.lstrip("\n"))
    return Answer(think=body[: closing.end()], rest=body[closing.end() :])

"""The greedy answers of a model as texts, as many tests want them."""

from collections.abc import Sequence
from typing import Any

from runner.evaluation.generation import AnswerEncoder, Sampling, complete


def greedy(model: Any, encoder: AnswerEncoder, prompts: Sequence[str], *, max_new_tokens: int) -> list[str]:
    """One answer to each prompt."""
    answers = complete(model, encoder, prompts, sampling=Sampling(), max_new_tokens=max_new_tokens)
    return [answer.text for (answer,) in answers]

"""Batched generation gives what one prompt after another gives, and leaves the model as it was."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from runner.evaluation.generation import generate


class Letters:
    """A tokenizer of single bytes, with two more ids for the end and for padding."""

    eos_id = 256
    pad_id = 257

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import Starcoder2Config, Starcoder2ForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = Starcoder2Config(
        vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, sliding_window=None, initializer_range=0.4,
        bos_token_id=256, eos_token_id=256, pad_token_id=257, residual_dropout=0.5, embedding_dropout=0.5,
    )  # fmt: skip
    return Starcoder2ForCausalLM(config)


PROMPTS = ("a", "longer prompt", "def solve(n):", "x" * 40, "bc")


def plain_greedy(model: Any, prompt: str, count: int) -> str:
    """No cache, no batch, no padding: every token from a forward pass over all before it."""
    model.eval()
    ids = list(prompt.encode())
    new: list[int] = []
    while len(new) < count:
        with torch.no_grad():
            best = int(model(input_ids=torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax())
        if best == Letters.eos_id:
            break
        new.append(best)
    return Letters().decode(new)


def test_batched_answers_equal_plain_greedy_decoding(model: Any) -> None:
    expected = [plain_greedy(model, prompt, 24) for prompt in PROMPTS]
    for batch in (1, 2, 8):
        assert generate(model, Letters(), PROMPTS, max_new_tokens=24, batch=batch) == expected
    assert len(set(expected)) > 1


def test_an_answer_ends_at_the_end_token_while_others_go_on(model: Any) -> None:
    encoder = Letters()
    longest = [plain_greedy(model, prompt, 24).split() for prompt in PROMPTS]
    encoder.eos_id = int(longest[0][5])  # the first answer now ends early, whatever the others do
    answers = [answer.split() for answer in generate(model, encoder, PROMPTS, max_new_tokens=24)]
    cut = [ids[: ids.index(str(encoder.eos_id))] if str(encoder.eos_id) in ids else ids for ids in longest]
    assert answers == cut
    assert len(answers[0]) < 24


def test_the_mode_of_every_module_is_restored(model: Any) -> None:
    model.train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    generate(model, Letters(), PROMPTS, max_new_tokens=2)
    assert [module.training for module in model.modules()] == before


def test_progress_counts_the_prompts(model: Any) -> None:
    seen: list[int] = []
    generate(model, Letters(), PROMPTS, max_new_tokens=1, batch=2, progress=seen.append)
    assert seen == [2, 4, 5]


def test_no_prompts_give_no_answers(model: Any) -> None:
    assert generate(model, Letters(), [], max_new_tokens=4) == []

"""Greedy answers of a causal language model that is in memory, many prompts at once.

Which prompts, and what an answer is worth, is decided in ``passes``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class AnswerEncoder(Protocol):
    """The tokenizer as generation needs it; ``runner.model.tokenizer.Encoder`` is one."""

    @property
    def eos_id(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def generate(
    model: Any,
    encoder: AnswerEncoder,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """The greedy continuation of each prompt, in order, without the end-of-sequence token.

    Each ends at end-of-sequence or after ``max_new_tokens``, and does not depend on its neighbours in the batch
    but for rounding.  ``model`` is a Hugging Face or PEFT causal model; its train or eval mode is restored.
    ``progress`` gets the number of prompts done.
    """
    ids = encoder.encode(prompts)
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))  # equal lengths together: less padding
    answers = [""] * len(ids)
    with _evaluating(model), torch.no_grad():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            continued = _continue([ids[number] for number in chosen], model, encoder, max_new_tokens)
            for number, answer in zip(chosen, continued, strict=True):
                answers[number] = encoder.decode(answer)
            if progress is not None:
                progress(start + len(chosen))
    return answers


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode within the block, each in its former mode after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _continue(ids: Sequence[list[int]], model: Any, encoder: AnswerEncoder, max_new_tokens: int) -> list[list[int]]:
    """The new ids of each row; rows that ended leave the batch, and their cache with them."""
    from transformers import DynamicCache

    device = next(model.parameters()).device
    tokens, mask = _pad_left(ids, encoder.pad_id, device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache()
    new: list[list[int]] = [[] for _ in ids]
    rows = torch.arange(len(ids), device=device)
    for _ in range(max_new_tokens):
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        best = output.logits[:, -1].argmax(-1)
        for row, token in zip(rows.tolist(), best.tolist(), strict=True):
            if token != encoder.eos_id:
                new[row].append(token)
        alive = best != encoder.eos_id
        if not alive.any():
            break
        if not alive.all():
            keep = alive.nonzero().squeeze(1)
            cache.batch_select_indices(keep)
            best, mask, positions, rows = best[keep], mask[keep], positions[keep], rows[keep]
        tokens, positions = best[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    return new


def _pad_left(ids: Sequence[list[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, each (rows, longest); padding stands first and is masked."""
    longest = max(map(len, ids))
    tokens = [[pad_id] * (longest - len(row)) + row for row in ids]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)

"""Answers of a causal language model that is in memory to many prompts, or to one as it is written.

How they are computed is ``serving``'s; which prompts, and what an answer is worth, is decided elsewhere.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from runner.errors import UserError
from runner.evaluation.generation.cache import ATTENTION, register_slot_attention
from runner.evaluation.generation.sampling import Sampling
from runner.evaluation.generation.serving import STEPS_ON_DEVICE, Ending, Finished, serve, tokens_of
from runner.evaluation.generation.slots import Request, Slots
from runner.model.adapter import causal_lm
from runner.model.attention import padded_attention
from runner.model.kinds import KNOWN_LAYERS, unknown_layers

REPLACEMENT = "\ufffd"  # what decoding gives for a character whose bytes are not all there


class AnswerEncoder(Protocol):
    """The tokenizer as generation needs it; ``runner.model.tokenizer.Encoder`` is one."""

    @property
    def bos_ids(self) -> tuple[int, ...]: ...

    @property
    def eos_id(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Completion:
    """One answer: its ``ids`` without end-of-sequence, their text, and whether the cap on tokens ended it."""

    ids: tuple[int, ...]
    text: str
    cut: bool


def complete(
    model: Any,
    encoder: AnswerEncoder,
    prompts: Sequence[str],
    *,
    sampling: Sampling,
    max_new_tokens: int,
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
    between: Callable[[], None] | None = None,
) -> list[tuple[Completion, ...]]:
    """For each prompt, in order, ``sampling.samples`` answers, each ended by end-of-sequence or the cap.

    But for rounding an answer depends on model, prompt, sampling, and its prompt and sample number alone: not on
    ``batch``, the answers computed at once, nor on its neighbours.  ``model`` is a Hugging Face or PEFT causal model,
    also one with compiled or written-out layers; it is left as it was.  ``progress`` gets the number of prompts done.
    ``between`` is called whenever it is looked which answers have ended: what it raises ends all of them.
    Raises ``UserError`` for an empty prompt, for a cap below 1, and for layers that are not attention.
    """
    ids = _checked(encoder, prompts, max_new_tokens)
    requests = [Request(prompt, sample, row) for prompt, row in enumerate(ids) for sample in range(sampling.samples)]
    answers: list[dict[int, Completion]] = [{} for _ in prompts]
    if requests:
        slots_wanted = min(batch, len(requests))
        with _answering(model) as lm:
            slots = Slots(lm, sampling, slots_wanted, _capacity(ids, max_new_tokens))
            done = 0
            for finished in serve(slots, requests, Ending(encoder.eos_id, max_new_tokens), between):
                answer = answers[finished.request.prompt]
                answer[finished.request.sample] = _completion(encoder, finished)
                if len(answer) == sampling.samples:
                    done += 1
                    if progress is not None:
                        progress(done)
    return [tuple(answer[sample] for sample in range(sampling.samples)) for answer in answers]


def stream(
    model: Any, encoder: AnswerEncoder, prompt: str, *, sampling: Sampling, max_new_tokens: int
) -> Iterator[str]:
    """The answer that ``complete`` gives as the first sample of a first prompt, in pieces of whole characters.

    Until the iterator ends or is closed the model stays as generation needs it.  Raises as ``complete`` does.
    """
    (ids,) = _checked(encoder, [prompt], max_new_tokens)
    with _answering(model) as lm:
        slots = Slots(lm, sampling, 1, _capacity([ids], max_new_tokens))
        tokens = tokens_of(slots, Request(0, 0, ids), Ending(encoder.eos_id, max_new_tokens))
        yield from _pieces(encoder, tokens)


def prompt_ids(encoder: AnswerEncoder, prompts: Sequence[str]) -> list[tuple[int, ...]]:
    """The ids of each prompt after what the tokenizer puts before a text, as documents are trained on."""
    return [(*encoder.bos_ids, *row) for row in encoder.encode(prompts)]


def _checked(encoder: AnswerEncoder, prompts: Sequence[str], max_new_tokens: int) -> list[tuple[int, ...]]:
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {max_new_tokens}", "generation", "it must be at least 1")
    ids = prompt_ids(encoder, prompts)
    for number, row in enumerate(ids):
        if len(row) == len(encoder.bos_ids):
            raise UserError(f"prompt {number} has no tokens", "generation", "ask something")
    return ids


def _capacity(ids: Sequence[tuple[int, ...]], max_new_tokens: int) -> int:
    """Tokens of the longest prompt with its answer, and those made before anyone looks whether it ended."""
    return max(map(len, ids)) + max_new_tokens + STEPS_ON_DEVICE


@contextmanager
def _answering(model: nn.Module) -> Iterator[Any]:
    """The transformers model of ``model``, in eval mode and with attention over slots; all is undone after the block.

    Each module gets its own former mode back.
    """
    lm = causal_lm(model)
    if unknown := unknown_layers(lm.config):
        raise UserError(
            f"the model has layers of {unknown}",
            f"model type {lm.config.model_type}",
            f"generation knows {' and '.join(KNOWN_LAYERS)}: use a model with these alone",
        )
    register_slot_attention()
    modes = [(module, module.training) for module in model.modules()]
    try:
        with padded_attention(lm):
            model.eval()
            lm.config._attn_implementation = ATTENTION  # put back by padded_attention
            yield lm
    finally:
        for module, training in modes:
            module.training = training


def _completion(encoder: AnswerEncoder, finished: Finished) -> Completion:
    return Completion(finished.ids, encoder.decode(finished.ids), finished.cut)


def _pieces(encoder: AnswerEncoder, tokens: Iterable[int]) -> Iterator[str]:
    """The text of ``tokens``, piece by piece; a character whose bytes are split over tokens waits for the last.

    Each piece is decoded after the one before it, for some tokenizers treat the start of a text differently.
    """
    before: list[int] = []
    pending: list[int] = []
    for token in tokens:
        pending.append(token)
        piece = _after(encoder, before, pending)
        if piece and not piece.endswith(REPLACEMENT):
            yield piece
            before, pending = pending, []
    if pending:
        yield _after(encoder, before, pending)


def _after(encoder: AnswerEncoder, before: list[int], pending: list[int]) -> str:
    return encoder.decode(before + pending)[len(encoder.decode(before)) :]

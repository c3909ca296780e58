"""How fast answers are made, against transformers' own ``generate`` at the same batch on the same prompts.

Run it with ``python -m runner.evaluation.generation.bench --help``; what is made of the figures is left to the reader.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from runner.config.job import Lora, Model
from runner.data.questions import question_of, rows
from runner.data.template import prompt_text
from runner.evaluation.generation.answers import AnswerEncoder, complete, prompt_ids
from runner.evaluation.generation.sampling import Sampling
from runner.model.adapter import add_adapter, causal_lm
from runner.model.attention import padded_attention
from runner.model.base import compute_dtype, load_base
from runner.model.tokenizer import load_encoder

Ids = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Timed:
    """Tokens a second of each repeat, all answers together, each counted up to its end."""

    tokens: int  # of one repeat
    rates: tuple[float, ...]

    @property
    def rate(self) -> float:
        """The median, tokens a second."""
        return statistics.median(self.rates)

    @property
    def spread(self) -> float:
        """From the slowest repeat to the fastest, as a share of the median."""
        return (max(self.rates) - min(self.rates)) / self.rate


@dataclass(frozen=True)
class Comparison:
    """This program's generation and transformers', and how many of the greedy answers are the same."""

    ours: Timed
    theirs: Timed
    same: int
    prompts: int

    @property
    def ratio(self) -> float:
        """How many times faster this program's is."""
        return self.ours.rate / self.theirs.rate


def compare_generation(
    model: Any,
    encoder: AnswerEncoder,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch: int,
    repeats: int = 3,
) -> Comparison:
    """Time greedy answers both ways, in turn, after one untimed pass of each.

    transformers gets batches of prompts of like length, padded on the left, each until its last answer has ended.
    """

    def ours() -> Ids:
        answers = complete(model, encoder, prompts, sampling=Sampling(), max_new_tokens=max_new_tokens, batch=batch)
        return [answer.ids for (answer,) in answers]

    def theirs() -> Ids:
        return _by_transformers(model, encoder, prompts, max_new_tokens, batch)

    device = next(model.parameters()).device
    first, second = ours(), theirs()
    seconds = [(_seconds(ours, device), _seconds(theirs, device)) for _ in range(repeats)]
    mine, others = zip(*seconds, strict=True)
    return Comparison(
        ours=_timed(first, mine),
        theirs=_timed(second, others),
        same=sum(a == b for a, b in zip(first, second, strict=True)),
        prompts=len(prompts),
    )


def _timed(answers: Ids, seconds: Sequence[float]) -> Timed:
    tokens = sum(map(len, answers))
    return Timed(tokens, tuple(tokens / taken for taken in seconds))


def _seconds(run: Callable[[], Ids], device: torch.device) -> float:
    """Wall time; on a CPU the process's own time, so that neighbours on a shared core do not count."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    run()  # its answers are on the host: the device has ended
    return clock() - start


def _by_transformers(
    model: nn.Module, encoder: AnswerEncoder, prompts: Sequence[str], max_new_tokens: int, batch: int
) -> Ids:
    """The ids of transformers' greedy answers, in order, without end-of-sequence."""
    ids = prompt_ids(encoder, prompts)
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    answers: list[tuple[int, ...]] = [()] * len(ids)
    with padded_attention(causal_lm(model)), torch.no_grad():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            made = _one_batch(model, encoder, [ids[number] for number in chosen], max_new_tokens)
            for number, row in zip(chosen, made, strict=True):
                answers[number] = tuple(row[: row.index(encoder.eos_id)] if encoder.eos_id in row else row)
    return answers


def _one_batch(
    model: Any, encoder: AnswerEncoder, ids: Sequence[tuple[int, ...]], max_new_tokens: int
) -> list[list[int]]:
    lm = causal_lm(model)
    longest = max(map(len, ids))
    device = next(model.parameters()).device
    tokens = torch.tensor([[encoder.pad_id] * (longest - len(row)) + list(row) for row in ids], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=device)
    lm.eval()
    made = lm.generate(
        tokens,
        attention_mask=mask,
        do_sample=False,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=encoder.eos_id,
        pad_token_id=encoder.pad_id,
    )
    rows: list[list[int]] = made[:, longest:].tolist()
    return rows


def load_adapted(model: Model, device: torch.device, *, merged: bool) -> nn.Module:
    """The base with an adapter of rank 16 whose weights are small and random, merged into it or beside it."""
    base = load_base(model, device, residency="dequantized", seed=17)
    adapted = add_adapter(base, Lora(rank=16, alpha=32), dtype=compute_dtype(device), seed=17)
    torch.manual_seed(17)
    for name, parameter in adapted.named_parameters():
        if ".lora_B." in name:
            parameter.data.normal_(std=1e-3)
    wrapper: Any = adapted
    if merged:
        wrapper.merge_adapter()
    return adapted.eval()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m runner.evaluation.generation.bench")
    parser.add_argument("--model", default="builtin:tiny-starcoder2")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=100, help="held-out built-in questions")
    parser.add_argument("--max-new-tokens", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--merged", action=argparse.BooleanOptionalAction, default=False)
    return parser.parse_args()


def main() -> None:
    """Print one comparison."""
    chosen = _arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    description = Model(id=chosen.model)
    model = load_adapted(description, device, merged=chosen.merged)
    prompts = [prompt_text(question_of(str(row["id"])).statement) for row in rows("validation", chosen.prompts, 17)]
    found = compare_generation(
        model,
        load_encoder(description),
        prompts,
        max_new_tokens=chosen.max_new_tokens,
        batch=chosen.batch,
        repeats=chosen.repeats,
    )
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"{chosen.model} on {where}, batch {chosen.batch}, adapter {'merged' if chosen.merged else 'unmerged'}")
    for name, timed in (("runner", found.ours), ("transformers", found.theirs)):
        print(f"{name:13}{timed.rate:9,.0f} tokens/s, spread {timed.spread:.0%}, {timed.tokens:,} tokens")
    print(f"{found.ratio:.2f} times as fast; {found.same} of {found.prompts} answers are the same")


if __name__ == "__main__":
    main()

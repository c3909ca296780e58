"""One optimizer step's arithmetic: losses of packed buffers, forwards and back.

When to step, to measure and to save is the loop's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from runner.data.shards import PackedSplit
from runner.model.adapter import causal_lm
from runner.model.fused import Documents, fused_states
from runner.model.kinds import logit_scale
from runner.train.batches import MicroBatch, StepBatch, in_order, passes_over
from runner.train.loss import linear_cross_entropy
from runner.train.stopping import make_together
from runner.train.strategies import EngineModel, Strategy
from runner.train.world import World

PARTS = 3  # kinds of tokens in a batch: not learned, think, answer


@dataclass(frozen=True)
class Losses:
    """Mean cross-entropy, nats a token, over all learned tokens and over each part of them."""

    loss: float
    think_loss: float | None  # None: no such token
    answer_loss: float | None


def hidden_states(model: nn.Module, batch: MicroBatch) -> Tensor:
    """Last hidden states of every token, ``(rows * length, width)``; documents do not see each other."""
    documents = Documents(batch.borders, batch.documents, batch.length)
    fused = fused_states(model, batch.ids, batch.positions, documents)
    if fused is not None:
        return fused.reshape(-1, fused.shape[-1])
    decoder: Any = causal_lm(model).get_decoder()
    output = decoder(
        input_ids=batch.ids,
        position_ids=batch.positions,
        use_cache=False,
        cu_seq_lens_q=batch.borders,
        cu_seq_lens_k=batch.borders,
        max_length_q=batch.length,
        max_length_k=batch.length,
    )
    states: Tensor = output.last_hidden_state
    return states.reshape(-1, states.shape[-1])


def batch_losses(model: nn.Module, batch: MicroBatch, *, scale: float) -> tuple[Tensor, Tensor]:
    """``scale`` x the summed loss (with gradient), and the sums and counts of each part, float32 ``(2, 3)``."""
    total, losses = token_losses(model, batch, scale=scale)
    return total, part_sums(batch, losses)


def token_losses(model: nn.Module, batch: MicroBatch, *, scale: float) -> tuple[Tensor, Tensor]:
    """``scale`` x the summed loss (with gradient), and the loss of every predicted token, float32 ``(answers,)``."""
    if isinstance(model, EngineModel):
        return model.token_losses(batch, scale)
    rows = hidden_states(model, batch).index_select(0, batch.predicted)
    lm = causal_lm(model)
    factor = logit_scale(lm.config)
    if factor != 1.0:
        rows = rows * factor  # exact for powers of two, which models have
    head: Any = lm.get_output_embeddings()
    return linear_cross_entropy(rows, head.weight, batch.targets, scale=scale, bias=head.bias)


def part_sums(batch: MicroBatch, losses: Tensor) -> Tensor:
    """Sums and counts of each part's ``losses``, ``(2, 3)``."""
    sums = torch.zeros(2, PARTS, dtype=losses.dtype, device=losses.device)
    sums[0].index_add_(0, batch.parts, losses)
    sums[1].index_add_(0, batch.parts, torch.ones_like(losses))
    return sums


def train_step(
    model: nn.Module, optimizer: Strategy, batch: StepBatch, world: World, *, rate: float, seed: int, stop: bool
) -> Tensor:
    """Forward, backward, sum over ranks, clip and step; returns the step's record, still on the device.

    The record is float32 ``(8,)``: part sums (3), part counts (3), the gradient norm before clipping, and how
    many ranks were asked to stop.  The loss is the sum over all learned tokens of all ranks and micro-batches
    divided by their number.  Dropout is drawn once a pass, from ``(seed, step, first buffer of the
    pass)``, so no generator's state has to be saved; passes of another size, or on other ranks, draw other masks.
    """
    optimizer.begin_step()
    record = torch.zeros(2 * PARTS + 2, dtype=optimizer.dtype, device=world.device)
    record[-1:].fill_(float(stop))  # to assign it would wait for the device
    for micro in batch.micro_batches:
        torch.manual_seed(int(np.random.SeedSequence((seed, batch.step, micro.first_pack)).generate_state(1)[0]))
        loss, sums = batch_losses(model, micro, scale=1.0 / batch.learned)
        optimizer.backward(loss)
        del loss  # what its graph holds would tie the next pass, which may be recorded, to this one
        record[: 2 * PARTS] += sums.flatten()
    optimizer.reduce(world)
    world.sum(record)
    record[-2] = optimizer.step(rate, record[:PARTS].sum())
    return record


def validation_losses(
    model: nn.Module, split: PackedSplit, world: World, *, rows: int, asked: Callable[[], bool] = lambda: False
) -> Losses:
    """The losses over all of ``split``, the same on every rank; the model's mode is left as it was.

    Every rank gives the same ``rows``.  Raises ``CutShort`` on every rank, between two passes, when ``asked`` says on
    any that the run should stop, and an error of memory on every rank where one has none.
    """
    training = model.training
    model.eval()
    batches = in_order(split, rows=rows, rank=world.rank, ranks=world.size, device=world.device)
    passes, apart = passes_over(len(split), world.size, rows), not isinstance(model, EngineModel)
    sums = torch.zeros(2, PARTS, dtype=torch.float64, device=world.device)

    def make_one() -> None:
        sums.add_(summed_losses(model, islice(batches, 1), world.device))

    try:
        make_together(passes, make_one, world, asked, apart=apart)
    finally:
        model.train(training)
    return losses_of(world.sum(sums).flatten().tolist())


@torch.no_grad()
def summed_losses(model: nn.Module, batches: Iterable[MicroBatch], device: torch.device) -> Tensor:
    """Sums and counts of each part's losses over ``batches``, float64 ``(2, 3)``, not yet summed over ranks."""
    sums = torch.zeros(2, PARTS, dtype=torch.float64, device=device)
    for batch in batches:
        sums += batch_losses(model, batch, scale=1.0)[1]
    return sums


def losses_of(record: list[float]) -> Losses:
    """The means told by part sums and counts: ``[-, think, answer, -, think tokens, answer tokens, ...]``."""
    _, think, answer, _, think_tokens, answer_tokens = record[: 2 * PARTS]
    return Losses(
        (think + answer) / (think_tokens + answer_tokens),
        think / think_tokens if think_tokens else None,
        answer / answer_tokens if answer_tokens else None,
    )

"""The micro-batches of a step: packed buffers turned into tensors on the device.

Which buffers a step sees is a function of (seed, step) in ``runner.data.order``, never of the number of ranks.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.data.order import packs_of_step
from runner.data.shards import Pack, PackedSplit

BORDERS = 64  # the borders' tensor grows by this many entries, so that few shapes are ever compiled


@dataclass(frozen=True)
class MicroBatch:
    """``rows`` packed buffers on the device, and which of their tokens are predicted."""

    first_pack: int
    ids: Tensor  # int64 (rows, length)
    positions: Tensor  # int64 (rows, length), restarting at every document
    borders: Tensor  # int32 (documents + 1, padded with the end), over rows x length
    predicted: Tensor  # int64 (answers,): places, over rows x length, whose next token is learned
    targets: Tensor  # int64 (answers,): those next tokens
    parts: Tensor  # int64 (answers,): 1 think, 2 answer
    length: int
    documents: tuple[int, ...]  # their lengths, over rows x length


def learned_tokens(pack: Pack) -> int:
    """Tokens of ``pack`` that count in the loss: learned, and not the first of their document."""
    return int(np.count_nonzero((pack.parts != 0) & (pack.positions != 0)))


def unlearned(batch: MicroBatch) -> MicroBatch:
    """``batch`` with no token to predict: a pass of the same shape that adds nothing."""
    return replace(batch, predicted=batch.predicted[:0], targets=batch.targets[:0], parts=batch.parts[:0])


def micro_batch(packs: list[Pack], first: int, device: torch.device, *, documents: int = 0) -> MicroBatch:
    """``packs`` side by side on ``device``, with room for the borders of ``documents``; the copies do not wait."""
    ids = np.stack([pack.ids for pack in packs]).astype(np.int64)
    positions = np.stack([pack.positions for pack in packs]).astype(np.int64)
    parts = np.stack([pack.parts for pack in packs]).astype(np.int64)
    learned = np.flatnonzero((parts != 0) & (positions != 0))
    lengths = [length for pack in packs for length in pack.lengths]
    return MicroBatch(
        first_pack=first,
        ids=_on(device, ids),
        positions=_on(device, positions),
        borders=_on(device, _borders(lengths, documents)),
        predicted=_on(device, learned - 1),
        targets=_on(device, ids.reshape(-1)[learned]),
        parts=_on(device, parts.reshape(-1)[learned]),
        length=ids.shape[1],
        documents=tuple(lengths),
    )


@dataclass(frozen=True)
class StepBatch:
    """What one rank computes in a step, and the learned tokens of all ranks, by which the loss is divided."""

    step: int
    micro_batches: Iterator[MicroBatch]
    learned: int
    packs: tuple[int, ...]  # of all ranks, in the order of the step


@dataclass
class Spent:
    """Host time that making batches took since it was last asked for."""

    seconds: float = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Add the time within the block."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    def take(self) -> float:
        """The seconds so far, which are then forgotten."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


@dataclass(frozen=True)
class Batches:
    """The training split seen from one rank."""

    split: PackedSplit
    buffers_per_step: int
    rows: int  # buffers in a micro-batch
    seed: int
    rank: int
    ranks: int
    device: torch.device
    even: bool = False  # every rank makes as many passes as the one that has the most
    spent: Spent = field(default_factory=Spent)

    @property
    def passes(self) -> int:
        """Forward passes of a step on the rank that has the most."""
        return passes_over(self.buffers_per_step, self.ranks, self.rows)

    def of_step(self, step: int) -> StepBatch:
        """The batch of ``step``, counted from 1; every rank takes each ``ranks``-th buffer of the same list."""
        with self.spent.counted():
            packs = packs_of_step(len(self.split), self.buffers_per_step, step, self.seed)
            learned = sum(learned_tokens(self.split.pack(int(index))) for index in packs)
        return StepBatch(step, self._assemble(packs), learned, tuple(int(index) for index in packs))

    def _assemble(self, packs: NDArray[np.int64]) -> Iterator[MicroBatch]:
        mine = packs[self.rank :: self.ranks]
        made = 0
        for start in range(0, len(mine), self.rows):
            with self.spent.counted():
                batch = self._batch(mine[start : start + self.rows])
            made += 1
            yield batch
        for _ in range(made, self.passes if self.even else 0):
            yield unlearned(self._batch(packs[:1]))

    def _batch(self, indexes: NDArray[np.int64]) -> MicroBatch:
        packs = [self.split.pack(int(index)) for index in indexes]
        room = len(packs) * self.split.most_documents  # the same for every batch, so that all have one shape
        return micro_batch(packs, int(indexes[0]), self.device, documents=room)


def in_order(split: PackedSplit, *, rows: int, rank: int, ranks: int, device: torch.device) -> Iterator[MicroBatch]:
    """Every buffer of ``split`` once over all ranks, for measuring a loss.

    Every rank makes as many passes as the one that has the most: where the base is shared out, all must take part.
    """
    mine = range(rank, len(split), ranks)
    for start in range(0, passes_over(len(split), ranks, rows) * rows, rows):
        chosen = list(mine[start : start + rows])
        indexes = chosen or [0]
        batch = micro_batch([split.pack(index) for index in indexes], indexes[0], device)
        yield batch if chosen else unlearned(batch)


def passes_over(buffers: int, ranks: int, rows: int) -> int:
    """Passes over ``buffers`` on the rank that has the most of them."""
    return -(-buffers // (ranks * rows))


def _borders(lengths: list[int], documents: int) -> NDArray[np.int32]:
    ends = np.cumsum([0, *lengths], dtype=np.int32)
    padded = -(-max(len(ends), documents + 1) // BORDERS) * BORDERS
    return np.pad(ends, (0, padded - len(ends)), mode="edge")


def _on(device: torch.device, array: NDArray[np.int64] | NDArray[np.int32]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

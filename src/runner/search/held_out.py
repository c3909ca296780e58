"""The loss of the held-out questions, one by one, in one pass over buffers that stay on the device.

When it is measured is ``trunk``'s; what its spread says, ``answer``'s.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runner.data import PackedSplit
from runner.train.batches import in_order
from runner.train.step import PARTS, Losses, losses_of, part_sums, token_losses


@dataclass(frozen=True)
class Measurement:
    """The losses that a run's validation gives, and the summed loss of each question in nats."""

    losses: Losses
    question_sums: tuple[float, ...]  # in the order of the split


class HeldOut:
    """The validation split, packed as every run sees it; each of its documents is one question."""

    def __init__(self, split: PackedSplit, *, rows: int, device: torch.device) -> None:
        """``rows`` buffers go through the model together."""
        self._batches = list(in_order(split, rows=rows, rank=0, ranks=1, device=device))
        self._device = device
        self._questions = np.concatenate([_questions_of(split, index) for index in range(len(split))])
        self.question_tokens = tuple(int(n) for n in np.bincount(self._questions, minlength=split.documents))

    @torch.no_grad()
    def measure(self, model: nn.Module) -> Measurement:
        """The losses now; the total is, bit for bit, that of ``validation_losses`` with as many rows.

        A question's tokens are added up in one order on the host, so equal losses give equal sums.
        """
        training = model.training
        model.eval()
        sums = torch.zeros(2, PARTS, dtype=torch.float64, device=self._device)
        losses: list[Tensor] = []
        for batch in self._batches:
            losses.append(token_losses(model, batch, scale=1.0)[1])
            sums += part_sums(batch, losses[-1])
        model.train(training)
        each = torch.cat(losses).double().cpu().numpy()
        by_question = np.bincount(self._questions, weights=each, minlength=len(self.question_tokens))
        return Measurement(losses_of(sums.flatten().tolist()), tuple(by_question.tolist()))


def _questions_of(split: PackedSplit, index: int) -> NDArray[np.int64]:
    """The question, by its number in the split, of every learned token of buffer ``index``."""
    pack = split.pack(index)
    places = np.flatnonzero((pack.parts != 0) & (pack.positions != 0))
    members = np.array(split.members(index), dtype=np.int64)
    return members[np.searchsorted(np.cumsum(pack.lengths), places, side="right")]

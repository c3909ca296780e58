"""What the loop asks of a strategy, and the state that every strategy can give and take.

``ddp`` is ``runner.train.optimizer``'s; ``zero2`` and ``zero3`` are in ``zero``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from runner.train.world import World

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True)
class TrainingState:
    """Masters and moments by parameter name, whole, float32: the same under every strategy and number of ranks."""

    weights: Mapping[str, Tensor]
    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    steps_taken: int  # steps that moved weights


class Strategy(Protocol):
    """Gradients, masters and moments of the trainable parameters, wherever they lie; every rank calls alike.

    A step is ``begin_step``, ``backward`` once a pass, ``reduce``, ``step``.
    """

    @property
    def count(self) -> int:
        """Trainable parameters of the whole model."""

    @property
    def dtype(self) -> torch.dtype:
        """Of masters, moments and the summed gradient."""

    def begin_step(self) -> None:
        """Forget the gradient of the step before."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one pass's ``loss``, ``()``."""

    def reduce(self, world: World) -> None:
        """Sum the gradient over all ranks."""

    def step(self, learning_rate: float, loss: Tensor) -> Tensor:
        """Clip, and step unless ``loss`` or the gradient is not finite; returns the norm before clipping, ``()``.

        ``loss`` is all ranks' together.  A norm that is not finite is told by one that is not finite.
        """

    def whole_weights(self) -> Mapping[str, Tensor]:
        """Every master by its parameter's name; on ranks other than 0 it may be empty."""

    def whole_state(self) -> TrainingState:
        """Everything that a checkpoint holds; on ranks other than 0 its tensors may be missing."""

    def adopt(self, state: TrainingState) -> None:
        """Go on from ``state``, which every rank gives whole, by whichever strategy it was made."""

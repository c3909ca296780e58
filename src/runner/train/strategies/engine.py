"""A pass through DeepSpeed's engine: forward and loss as one module, so that weights come and go around it.

What a pass computes is ``runner.train.step``'s.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, nn

from runner.model.adapter import causal_lm
from runner.train.batches import MicroBatch

Losses: TypeAlias = Callable[..., tuple[Tensor, Tensor]]
"""``token_losses`` of ``runner.train.step``: (model, batch, *, scale)."""


class WholePass(nn.Module):
    """Hidden states and the head's loss in one ``forward``: the head's weight is used outside its own module."""

    def __init__(self, model: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.model = model
        self._losses = losses

    @property
    def head(self) -> nn.Parameter:
        """The output embedding, which is needed for as long as a pass lasts."""
        weight: nn.Parameter = causal_lm(self.model).get_output_embeddings().weight
        return weight

    def forward(self, batch: MicroBatch, scale: float) -> tuple[Tensor, Tensor]:
        """As ``runner.train.step.token_losses``."""
        return self._losses(self.model, batch, scale=scale)


class EngineModel(nn.Module):
    """What the step calls in place of the model."""

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self.engine = engine

    def token_losses(self, batch: MicroBatch, scale: float) -> tuple[Tensor, Tensor]:
        """As ``runner.train.step.token_losses``, through the engine."""
        losses: tuple[Tensor, Tensor] = self.engine(batch, scale)
        return losses

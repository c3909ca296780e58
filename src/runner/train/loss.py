"""Cross-entropy of the output head without ever holding all logits.

Which tokens are learned is decided by the data; this sees only their hidden states and targets.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from runner.model.fused.elementwise import cross_entropy, sum_dtype

CHUNK_BYTES = 256 * 2**20  # logits held at once; 2,730 rows of StarCoder2's 49,152 tokens in 16 bits


class _LinearCrossEntropy(torch.autograd.Function):
    """The loss and, in the same sweep over chunks of rows, its gradients; the logits of a chunk are then dropped."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, bias: Tensor | None, targets: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_head, wants_bias = ctx.needs_input_grad[:3]
        losses = torch.empty(len(targets), dtype=sum_dtype(hidden.dtype), device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        head_grad = torch.zeros_like(head, dtype=sum_dtype(head.dtype)) if wants_head else None
        bias_grad = torch.zeros_like(bias, dtype=sum_dtype(head.dtype)) if bias is not None and wants_bias else None
        backwards = wants_hidden or wants_head or wants_bias
        rows = max(1, CHUNK_BYTES // (head.element_size() * head.shape[0]))
        for start in range(0, len(targets), rows):
            chunk = slice(start, start + rows)
            logits = F.linear(hidden[chunk], head, bias)
            cross_entropy(logits, targets[chunk], losses[chunk], scale if backwards else None)
            if hidden_grad is not None:
                torch.mm(logits, head, out=hidden_grad[chunk])  # the logits have become their own gradient
            if head_grad is not None:
                head_grad += logits.t() @ hidden[chunk]
            if bias_grad is not None:
                bias_grad += logits.sum(0, dtype=bias_grad.dtype)
        ctx.save_for_backward(hidden_grad, _like(head_grad, head), _like(bias_grad, bias))
        ctx.mark_non_differentiable(losses)
        return losses.sum() * scale, losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        hidden_grad, head_grad, bias_grad = (
            None if grad is None else grad * gradients[0].to(grad.dtype) for grad in ctx.saved_tensors
        )
        return hidden_grad, head_grad, bias_grad, None, None


def _like(grad: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    return None if grad is None or parameter is None else grad.to(parameter.dtype)


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, *, scale: float, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``scale`` x the summed cross-entropy of ``hidden @ head.T + bias`` against ``targets``, and each row's own loss.

    ``hidden`` is ``(rows, width)``, ``head`` ``(vocabulary, width)``, ``bias`` ``(vocabulary,)``, ``targets`` int64
    ``(rows,)``.  The second result, ``(rows,)`` in nats, float32 (float64 where ``hidden`` is), carries no gradient.
    Memory: ``CHUNK_BYTES`` and one gradient of ``hidden``, whatever the number of rows.
    """
    total: Tensor
    losses: Tensor
    apply: Any = _LinearCrossEntropy.apply
    total, losses = apply(hidden, head, bias, targets, scale)
    return total, losses

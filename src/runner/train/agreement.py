"""Whether training computes of a base what the base itself computes: asked once, before anything is trained.

Which kinds of models are known not to is ``runner.model.kinds``'s.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runner.data.shards import Pack
from runner.errors import UserError
from runner.model.kinds import REMEDY
from runner.train.batches import micro_batch
from runner.train.step import token_losses

LENGTHS = (9, 7)  # tokens of two documents in one buffer
SPREAD = 7919  # between the ids of neighbouring tokens, a prime
TOLERANCE = {torch.float32: 1e-4}  # mean difference of losses, as a part of the largest logit
TOLERANCE_16_BIT = 2e-2


@torch.no_grad()
def check_agreement(base: nn.Module, model_id: str) -> None:
    """Raise ``UserError`` unless two documents in one buffer have the losses that each has by the logits of ``base``.

    ``base`` is a transformers model with its own layers, none compiled; it is left as it was, and no random number is
    drawn.  A base whose weights are shared out over ranks is not looked at.
    """
    lm: Any = base
    if any(hasattr(parameter, "ds_id") for parameter in lm.parameters()):
        return
    training = lm.training
    lm.eval()
    try:
        off = _difference(lm)
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # of a model that such a pass is new to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{lm.config.model_type} models cannot be trained on packed documents ({reason})",
            f"model.id {model_id}",
            "take a model of another kind",
        ) from error
    finally:
        lm.train(training)
    for number, (mean, allowed) in enumerate(off, start=1):
        if not mean <= allowed:
            raise UserError(
                f"{lm.config.model_type} models are not computed here as transformers computes them: of two documents "
                f"in one buffer the loss of document {number} is off by {mean:.2g} nats a token",
                f"model.id {model_id}",
                REMEDY,
            )


def _difference(lm: Any) -> list[tuple[float, float]]:
    """For each document the mean difference of its losses, nats a token, and what rounding may make of it."""
    head = lm.get_output_embeddings().weight
    batch = micro_batch([_two_documents(head.shape[0])], 0, head.device)
    _, packed = token_losses(lm, batch, scale=1.0)
    part = TOLERANCE.get(head.dtype, TOLERANCE_16_BIT)
    config, before = lm.config, lm.config._attn_implementation
    config._attn_implementation = "eager"  # as each model's own file spells it out
    found, start = [], 0
    try:
        for number, length in enumerate(LENGTHS):
            alone, largest = _alone(lm, batch.ids[:, start : start + length])
            together = packed[start - number :][: length - 1]  # of a document's tokens all but the first are predicted
            found.append((float((together - alone).abs().mean()), part * max(1.0, largest)))
            start += length
    finally:
        config._attn_implementation = before
    return found


def _alone(lm: Any, ids: Tensor) -> tuple[Tensor, float]:
    """The loss of every predicted token of a document ``(1, length)`` on its own, and the size of the largest logit."""
    logits = lm(input_ids=ids, use_cache=False).logits[0].float()
    return F.cross_entropy(logits[:-1], ids[0, 1:], reduction="none"), float(logits.abs().max())


def _two_documents(vocabulary: int) -> Pack:
    positions = np.concatenate([np.arange(length) for length in LENGTHS])
    ids = (np.arange(1, len(positions) + 1) * SPREAD) % vocabulary
    return Pack(ids.astype(np.int32), np.full(len(ids), 2, np.uint8), positions.astype(np.int32), LENGTHS)

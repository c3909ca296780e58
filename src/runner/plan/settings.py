"""The choices a job leaves open (`auto`), settled for the device that is there.

Predicting memory and time is in ``memory`` and ``hours``.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from runner.config.job import Job
from runner.errors import UserError
from runner.model.base import Residency


@dataclass(frozen=True)
class Settings:
    """How a job is trained on one device."""

    residency: Residency
    micro_batch: int  # packed buffers in a forward pass
    recompute: Literal["none", "layers"]
    compiled: bool
    activation_budget: float  # part of the activations that compiled layers keep, 0 to 1


def settle(job: Job, *, ranks: int, device: torch.device) -> Settings:
    """The settings of ``job`` on ``device`` for ``ranks`` workers.

    Raises ``UserError`` when a step has fewer buffers than there are workers.
    """
    if ranks > job.buffers_per_step:
        raise UserError(
            f"{ranks} workers share a step of {job.buffers_per_step} buffers",
            "train.tokens_per_step / data.max_length",
            f"use at most {job.buffers_per_step} workers, or raise train.tokens_per_step",
        )
    mine = -(-job.buffers_per_step // ranks)
    rows = mine if job.train.micro_batch == "auto" else min(job.train.micro_batch, mine)
    cuda = device.type == "cuda"
    return Settings("dequantized", rows, "none", compiled=cuda, activation_budget=0.5 if cuda else 1.0)

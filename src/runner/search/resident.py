"""The base that stays loaded: data, model and adapters made once, on which one trial starts after the other.

What a trial does is ``trunk``'s; which trials there are, the driver's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.config.job import Job
from runner.errors import UserError
from runner.plan import present_device, read_geometry, settle
from runner.plan.memory import GIB
from runner.search.held_out import HeldOut
from runner.search.padded import PaddedAdapters
from runner.search.points import Parked, Snapshot
from runner.search.trunk import Loaded, Trunk
from runner.train.assembly import STATE_BYTES, load_data
from runner.train.optimizer import FlatAdamW
from runner.train.setup import build_model, choose_kernels
from runner.train.weights import FlatWeights
from runner.train.world import World

CHANGES_IN_PLACE = {
    "lora": {"rank", "alpha"},
    "train": {
        "learning_rate",
        "steps",
        "warmup",
        "decay",
        "schedule",
        "weight_decay",
        "clip",
        "seed",
        "tokens_per_step",
    },
}
LOADED = ("model", "data", "lora", "train")  # sections of a job that a base is made from


class ResidentBase:
    """Everything that trials of like jobs share; ``start`` gives the next one, and the one before it is over.

    ``data`` is what the job names, ``question_tokens`` the learned tokens of each held-out question in the order of the
    split, ``base_loss`` what the untouched base gives on them; ``loaded`` is what trials work with.
    """

    def __init__(self, job: Job, *, largest_rank: int, world: World, cache: Path) -> None:
        """Load what ``job`` names, with adapters of ``largest_rank``, as one of the workers of ``world``.

        Raises as a training run would: ``UserError`` for what cannot be loaded, ``DoesNotFit`` for what is too large.
        """
        self._job, self._world, device = _widened(job, largest_rank), world, world.device
        choose_kernels(device, deterministic=job.train.deterministic)
        geometry = read_geometry(self._job)  # which refuses some models, before data are tokenised for them
        _, self.data = load_data(job, cache=cache)
        here = present_device()
        snapshot_gib = STATE_BYTES * geometry.trainable / GIB
        self._settings = settle(
            self._job, geometry, replace(here, free_gib=here.free_gib - snapshot_gib), ranks=world.size
        )
        model = build_model(self._job, self._settings, device)
        weights = FlatWeights(model)
        optimizer = FlatAdamW(weights, job.train)
        self.loaded = Loaded(
            split=self.data.train,
            model=model,
            optimizer=optimizer,
            adapters=PaddedAdapters(model, weights),
            held_out=HeldOut(self.data.validation, rows=self._settings.micro_batch, device=device),
            snapshot=Snapshot(optimizer.changing()),
            tip=_on_host(weights.master),
            world=world,
        )
        self.question_tokens: tuple[int, ...] = self.loaded.held_out.question_tokens
        self.base_loss: float = self.loaded.held_out.measure(model).losses.loss

    def why_not(self, job: Job) -> str | None:
        """Why ``job`` needs another base, in words; None when its trial can start on this one."""
        if job.lora is None:
            return "lora is null: every parameter would be trained"
        largest = self.loaded.adapters.largest_rank
        if job.lora.rank > largest:
            return f"lora.rank is {job.lora.rank} and the adapters here have rank {largest}"
        if job.model.weights == "random" and job.train.seed != self._job.train.seed:
            return f"train.seed is {job.train.seed}, and random weights were drawn here with {self._job.train.seed}"
        mine = dict(_fixed(self._job))
        others = [f"{key} is {value} and here {mine[key]}" for key, value in _fixed(job) if value != mine[key]]
        return "; ".join(others) or None

    def start(
        self,
        job: Job,
        *,
        warmup_steps: int,
        parked: Parked | None = None,
        passing: Sequence[int] = (),
        stable: Sequence[int] = (),
    ) -> Trunk:
        """A trial of ``job``: adapters and optimizer as new; safe after any error of the one before.

        Every stop step of it warms up over the same ``warmup_steps``.  One that was ``parked`` goes on from there, and
        can be put back to where it would leave for the stop steps ``passing``; it is measured without a decay at those
        in ``stable``.
        """
        reason = self.why_not(job)
        assert reason is None, reason
        rows = self._rows(job)
        return Trunk(
            self.loaded, job, rows=rows, warmup_steps=warmup_steps, parked=parked, passing=passing, stable=stable
        )

    def _rows(self, job: Job) -> int:
        """Buffers in a forward pass: on a CPU as a run of ``job`` has them, on a GPU at most what was planned for."""
        buffers = math.ceil(job.buffers_per_step / self._world.size)
        if self._world.device.type == "cpu":
            return buffers if job.train.micro_batch == "auto" else min(job.train.micro_batch, buffers)
        return max(rows for rows in range(1, self._settings.micro_batch + 1) if buffers % rows == 0)


def _widened(job: Job, rank: int) -> Job:
    if job.lora is None:
        raise UserError(
            "lora is null: a search trains adapters on a base that stays as it is", "lora", "give lora a rank"
        )
    return job.model_copy(update={"lora": job.lora.model_copy(update={"rank": rank})})


def _fixed(job: Job) -> Iterator[tuple[str, Any]]:
    """Every key that cannot change on a loaded base, and its value."""
    sections = job.model_dump()
    for section in LOADED:
        for key, value in (sections[section] or {}).items():
            if key not in CHANGES_IN_PLACE.get(section, ()):
                yield f"{section}.{key}", value


def _on_host(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)

"""``zero2`` and ``zero3``: gradients, optimizer state and (zero3) weights shared out over the ranks by DeepSpeed.

The arithmetic of a step is DeepSpeed's with torch's AdamW; what is saved is gathered into the form that ``ddp``
saves.  DeepSpeed is imported on first use: it takes seconds.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runner.config.job import Job, Train
from runner.train.strategies.derived import STAGES, StepShape, derived_config
from runner.train.strategies.engine import EngineModel, Losses, WholePass
from runner.train.strategies.parts import part_of
from runner.train.strategies.strategy import BETAS, EPSILON, Strategy, TrainingState
from runner.train.world import World

MOMENTS = ("exp_avg", "exp_avg_sq")


def start_zero(job: Job, model: nn.Module, world: World, *, rows: int, losses: Losses) -> tuple[EngineModel, Strategy]:
    """DeepSpeed's engine around ``model`` (its parameters are shared out from now on), and what takes its steps.

    ``rows`` packed buffers make a pass.
    """
    shape = StepShape(rows, passes=-(-job.buffers_per_step // (world.size * rows)))
    optimizer = ZeroAdamW(job, model, world, shape, losses)
    return EngineModel(optimizer.engine), optimizer


@contextmanager
def loading(job: Job, world: World) -> Iterator[None]:
    """While it lasts, pretrained weights are shared out as they are read, where ``job`` shares out the base.

    So no rank ever holds all of them on its device.  Random weights are made whole.
    """
    if job.train.strategy != "zero3" or job.model.weights == "random":
        yield
        return
    _deepspeed(world)
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    from runner.model.base import compute_dtype

    shape = StepShape(rows=1, passes=1)  # of no matter before the first step
    kept = HfDeepSpeedConfig(derived_config(job, shape, compute_dtype(world.device)))
    try:
        yield
    finally:
        del kept
        unset_hf_deepspeed_config()


class ZeroAdamW:
    """torch's fused AdamW on this rank's part of the float32 masters, its steps taken by DeepSpeed."""

    def __init__(self, job: Job, model: nn.Module, world: World, shape: StepShape, losses: Losses) -> None:
        deepspeed = _deepspeed(world)
        self._world, self._passes, self._done = world, shape.passes, 0
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.count = sum(getattr(p, "ds_numel", p.numel()) for p in self._parameters.values())
        self.dtype = torch.float32
        self.adamw = _adamw(list(self._parameters.values()), job.train)
        whole = WholePass(model, losses)
        self._stage = STAGES[job.train.strategy]
        if self._stage == 3:
            deepspeed.zero.register_external_parameter(whole, whole.head)
        dtype = next(iter(self._parameters.values())).dtype
        config = derived_config(job, shape, dtype)
        self.engine, *_ = deepspeed.initialize(
            model=whole, optimizer=self.adamw, config=config, dist_init_required=False
        )
        self._zero: Any = self.engine.optimizer
        self._begin_moments()

    def begin_step(self) -> None:
        """As ``Strategy`` has it."""
        self._done = 0
        self.engine.set_gradient_accumulation_boundary(self._passes == 1)

    def backward(self, loss: Tensor) -> None:
        """As ``Strategy`` has it; DeepSpeed takes the mean over ranks where the sum is wanted."""
        self.engine.backward(loss * self._world.size, scale_wrt_gas=False)
        self._done += 1
        self.engine.set_gradient_accumulation_boundary(self._done >= self._passes - 1)

    def reduce(self, world: World) -> None:
        """DeepSpeed has summed while it went backward; here is only checked that it went as often as it must."""
        assert world == self._world
        assert self._done == self._passes, f"{self._done} passes of {self._passes}"

    def step(self, learning_rate: float, loss: Tensor) -> Tensor:
        """As ``Strategy`` has it; DeepSpeed itself leaves out a step whose norm is not finite."""
        self.adamw.grad_scale = None  # type: ignore[attr-defined]  # read by the fused kernel, as GradScaler sets it
        self.adamw.found_inf = (~torch.isfinite(loss)).to(torch.float32)  # type: ignore[attr-defined]  # as above
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        self.engine.step()
        return torch.as_tensor(self.engine.get_global_grad_norm(), dtype=self.dtype, device=self._world.device)

    def whole_weights(self) -> dict[str, Tensor]:
        """The masters by name on rank 0's host, gathered from all ranks; empty on others."""
        from deepspeed.utils import safe_get_full_fp32_param

        return self._on_lead(safe_get_full_fp32_param)

    def whole_state(self) -> TrainingState:
        """Masters and moments by name on rank 0's host, gathered from all ranks; empty on others."""
        from deepspeed.utils import safe_get_full_optimizer_state

        first, second = (self._on_lead(safe_get_full_optimizer_state, key) for key in MOMENTS)
        return TrainingState(self.whole_weights(), first, second, self.steps_taken)

    def _on_lead(self, gather: Any, *key: str) -> dict[str, Tensor]:
        """Each parameter's tensor in turn, so that a device holds one whole tensor at a time."""
        gathered = {}
        for name, parameter in self._parameters.items():
            whole: Tensor = gather(parameter, *key)
            if self._world.leads:
                gathered[name] = whole.detach().to("cpu", copy=True)
        return gathered

    @property
    def steps_taken(self) -> int:
        """Steps that moved weights; reading it waits for the device."""
        return int(next(iter(self.adamw.state.values()))["step"].item())

    @torch.no_grad()
    def adopt(self, state: TrainingState) -> None:
        """As ``Strategy`` has it; each rank keeps its part."""
        assert set(state.weights) == set(self._parameters), "a checkpoint of other parameters"
        for name, parameter in self._parameters.items():
            moments = (state.first[name], state.second[name])
            self._adopt_one(parameter, state.weights[name], dict(zip(MOMENTS, moments, strict=True)))
        if self._stage == 2:
            self._zero.update_lp_params()  # the weights that are computed with, from the masters
        for moments_of_part in self.adamw.state.values():
            moments_of_part["step"].fill_(float(state.steps_taken))

    def _adopt_one(self, parameter: Any, weight: Tensor, moments: dict[str, Tensor]) -> None:
        from deepspeed.utils import (
            safe_set_full_fp32_param,
            safe_set_full_optimizer_state,
            safe_set_local_fp32_param,
            safe_set_local_optimizer_state,
        )

        if self._stage == 2:
            safe_set_full_fp32_param(parameter, weight.to(self._world.device))
            for key, moment in moments.items():
                safe_set_full_optimizer_state(parameter, moment.to(self._world.device), key)
            return
        # DeepSpeed's own setters of whole tensors fail where a parameter does not divide by the ranks
        size = parameter.ds_tensor.numel()
        part = part_of(weight, size, self._world.rank).to(self._world.device)
        safe_set_local_fp32_param(parameter, part)
        for key, moment in moments.items():
            safe_set_local_optimizer_state(parameter, part_of(moment, size, self._world.rank), key)
        parameter.ds_tensor.data.copy_(part)
        if parameter.data.numel() == weight.numel():  # kept whole on every rank
            parameter.data.copy_(weight)

    def _begin_moments(self) -> None:
        """Zeros for every part now, not at the first step, so that a state can be adopted before it."""
        for part in self._parts():
            self.adamw.state[part] = {
                "step": torch.zeros((), dtype=torch.float32, device=part.device),
                **{key: torch.zeros_like(part) for key in MOMENTS},
            }
        if self._stage == 2:
            self._zero._lazy_init_hp_params_optimizer_state()  # what DeepSpeed does after its first step

    def _parts(self) -> list[Tensor]:
        """This rank's flat parts of the float32 masters."""
        name = "single_partition_of_fp32_groups" if self._stage == 2 else "fp32_partitioned_groups_flat"
        return list(getattr(self._zero, name))


def _adamw(parameters: list[nn.Parameter], train: Train) -> torch.optim.AdamW:
    """AdamW as ``ddp`` has it: only matrices decay."""
    dimensions = {id(p): len(getattr(p, "ds_shape", p.shape)) for p in parameters}
    matrices = [p for p in parameters if dimensions[id(p)] >= 2]
    vectors = [p for p in parameters if dimensions[id(p)] < 2]
    groups = [
        {"params": members, "weight_decay": decay}
        for members, decay in ((matrices, train.weight_decay), (vectors, 0.0))
        if members
    ]
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def _deepspeed(world: World) -> Any:
    """The package, told which device this rank computes on, with a process group to speak through."""
    os.environ["DS_ACCELERATOR"] = world.device.type  # DeepSpeed asks nothing else; it would take any GPU it sees
    os.environ["LOCAL_RANK"] = str(world.device.index or 0)  # by which it chooses its device
    if not dist.is_initialized():
        assert world.size == 1, "several ranks need a process group"
        backend = "nccl" if world.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]  # torch's own example of a store
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # it tells of every bucket
    warnings.filterwarnings("ignore", message=".*is deprecated", category=FutureWarning, module="torch.distributed")
    found = deepspeed.accelerator.get_accelerator().device_name()
    assert found == world.device.type, f"DeepSpeed was imported before and computes on {found}"
    if found == "cpu":
        # else it compiles an all-reduce that only its inference uses: a minute, and an error where no compiler is
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
    return deepspeed

"""The model as it is trained: base, adapter, compiled layers.

Which form is chosen is ``runner.plan``'s; what is done with it, ``loop``'s.
"""

import os
from typing import Any

import torch
from torch import nn

from runner.config.job import Job
from runner.model.adapter import add_adapter, causal_lm
from runner.model.base import compute_dtype, load_base
from runner.model.fused import fuse_layers, why_not_fused
from runner.model.kinds import decoder_layers
from runner.plan.settings import Settings
from runner.train.agreement import check_agreement

ALLOCATOR_SETTINGS = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}  # variables by which users set it


def choose_kernels(device: torch.device, *, deterministic: bool) -> None:
    """Let this process's CUDA operations be repeatable bit for bit, or the fastest; a CPU's always are repeatable.

    Call it before the first matrix product: cuBLAS reads its setting once.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _let_memory_grow()
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set through its module


def _let_memory_grow() -> None:
    """Let the allocator's blocks grow and shrink, unless its settings are the user's own.

    Blocks of fixed sizes left a tenth of a small card unusable: allocated nowhere and free for nothing that was asked.
    """
    if not ALLOCATOR_SETTINGS & os.environ.keys():
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")


def build_model(job: Job, settings: Settings, device: torch.device) -> nn.Module:
    """The base of ``job`` on ``device`` in the form ``settings`` names, with its fresh adapter (or all trainable).

    Raises ``UserError`` when training would not compute what the base itself computes.
    """
    base = load_base(job.model, device, residency=settings.residency, seed=job.train.seed)
    check_agreement(base, job.model.id)
    if job.lora is None:
        model = base.requires_grad_(requires_grad=True)
    else:
        model = add_adapter(base, job.lora, dtype=compute_dtype(device), seed=job.train.seed)
    model.train()
    if settings.fused:
        reason = why_not_fused(model)
        assert reason is None, f"the plan chose written-out layers, and {reason}"
        fuse_layers(model, kept=settings.fused, replayed=settings.replayed and device.type == "cuda")
    if settings.recompute == "layers":
        recompute_layers(model)
    if settings.compiled:
        compile_layers(model, budget=settings.activation_budget)
    return model


def recompute_layers(model: nn.Module) -> None:
    """Keep only each layer's input, and compute the layer again in the backward pass."""
    lm: Any = causal_lm(model)
    lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    lm.enable_input_require_grads()


def compile_layers(model: nn.Module, *, budget: float) -> None:
    """Compile every decoder layer for the one shape it will see; ``budget`` is the part of activations kept.

    One layer's code serves all layers.  ``budget`` 1 keeps what autograd would; towards 0 more is computed
    again in the backward pass, the cheapest for its memory first (torch's ``activation_memory_budget``).
    """
    import torch._dynamo
    import torch._functorch.config

    torch._functorch.config.activation_memory_budget = budget
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
    lm: Any = causal_lm(model)
    for layer in decoder_layers(lm):
        layer.compile(dynamic=False)

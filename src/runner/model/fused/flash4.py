"""Packed attention by FlashAttention-4 where it is installed: the fastest kernels for Hopper, windows included.

Its package is young; only the two functions that compute are called, with every result in memory of ours.
"""

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor

from runner.model.fused.borders import Documents

GENERATIONS = (9, 10)  # of cards: Hopper, and Blackwell for data centres
LARGEST_HEAD = 128


@functools.cache
def present(device: int) -> bool:
    """Whether FlashAttention-4 is installed and CUDA ``device`` is a card that it is written for."""
    try:
        installed = importlib.util.find_spec("flash_attn.cute") is not None
    except ModuleNotFoundError:
        installed = False
    return installed and torch.cuda.get_device_capability(device)[0] in GENERATIONS


def usable(query: Tensor) -> bool:
    """Whether this attention can go through it: 16 bits, and heads of at most 128."""
    width = query.shape[-1]
    fits = query.dtype in (torch.bfloat16, torch.float16) and width <= LARGEST_HEAD and width % 8 == 0
    return fits and present(query.device.index)


def forward(
    parts: tuple[Tensor, Tensor, Tensor], out: Tensor, documents: Documents, scaling: float, window: int | None
) -> Tensor:
    """Write attended values into ``out`` ``(rows, heads, head)``; returns the log-sum-exp, float32 ``(heads, rows)``.

    ``parts`` are queries, keys and values, ``(rows, heads, head)`` each.
    """
    query, key, value = parts
    normalizers = torch.empty(query.shape[1], len(query), dtype=torch.float32, device=query.device)
    _kernels()._flash_attn_fwd(
        *(query, key, value), out=out, lse=normalizers, return_lse=True, **_places(documents, scaling, window)
    )
    return normalizers


def backward(
    parts: tuple[Tensor, Tensor, Tensor],
    out: Tensor,
    normalizers: Tensor,
    grad: Tensor,
    part_grads: tuple[Tensor, Tensor, Tensor],
    documents: Documents,
    scaling: float,
    window: int | None,
) -> None:
    """Write the gradients of ``parts`` into ``part_grads``; ``out`` and ``normalizers`` are the forward pass's.

    Sums run in any order unless torch is told to be deterministic.
    """
    query_grad, key_grad, value_grad = part_grads
    _kernels()._flash_attn_bwd(
        *(*parts, out, grad, normalizers),
        **{"dq": query_grad, "dk": key_grad, "dv": value_grad},
        deterministic=torch.are_deterministic_algorithms_enabled(),
        **_places(documents, scaling, window),
    )


def _places(documents: Documents, scaling: float, window: int | None) -> dict[str, Any]:
    """Which tokens see which."""
    borders = documents.borders[: len(documents.lengths) + 1]
    seen = {"causal": True} if window is None else {"window_size_left": window - 1, "window_size_right": 0}
    return {
        "softmax_scale": scaling,
        "cu_seqlens_q": borders,
        "cu_seqlens_k": borders,
        "max_seqlen_q": documents.longest,
        "max_seqlen_k": documents.longest,
        **seen,
    }


@functools.cache
def _kernels() -> Any:
    return importlib.import_module("flash_attn.cute.interface")

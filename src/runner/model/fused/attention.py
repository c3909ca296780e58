"""Causal attention within packed documents, forwards and backwards, without autograd.

Three ways to the same result: FlashAttention-4 (the fastest on Hopper), torch's own flash kernel, and document by
document with torch's operator on a CPU.  Queries, keys and values lie side by side in one row a token.
"""

import functools
from typing import Literal

import torch
from torch import Tensor

from runner.model.fused import flash4
from runner.model.fused.borders import Documents
from runner.model.fused.elementwise import sum_dtype

Attention = Literal["FlashAttention-4", "torch's flash kernel"]


def attention_here(device: int) -> Attention:
    """Whose kernels 16-bit attention runs on, on CUDA ``device``."""
    return "FlashAttention-4" if flash4.present(device) else "torch's flash kernel"


def attention_forward(
    qkv: Tensor,
    out: Tensor,
    documents: Documents,
    heads: int,
    key_heads: int,
    scaling: float,
    window: int | None,
) -> Tensor:
    """Write the attended values ``(rows, heads * head)`` into ``out``; returns what the backward pass needs of it.

    ``qkv`` is ``(rows, (heads + 2 * key_heads) * head)``.  A ``window`` counts the token itself.
    """
    window = None if window is None or window >= documents.longest else window
    query, key, value = _split(qkv, heads, key_heads)
    if not qkv.is_cuda:
        return _cpu_forward(query, key, value, out, documents, scaling, window)
    if flash4.usable(query):
        return flash4.forward((query, key, value), _by_head(out, query), documents, scaling, window)
    edge = (-1, 0) if window is None else (window - 1, 0)
    attended, normalizers, *_ = torch.ops.aten._flash_attention_forward(
        *(query, key, value, documents.borders, documents.borders, documents.longest, documents.longest),
        *(0.0, True, False),
        scale=scaling,
        window_size_left=edge[0],
        window_size_right=edge[1],
    )
    out.copy_(attended.view(out.shape))
    result: Tensor = normalizers
    return result


def attention_backward(
    qkv: Tensor,
    out: Tensor,
    normalizers: Tensor,
    grad: Tensor,
    qkv_grad: Tensor,
    documents: Documents,
    heads: int,
    key_heads: int,
    scaling: float,
    window: int | None,
) -> None:
    """Write the gradient of ``qkv`` into ``qkv_grad``; ``out`` and ``normalizers`` are the forward pass's."""
    window = None if window is None or window >= documents.longest else window
    query, key, value = _split(qkv, heads, key_heads)
    if not qkv.is_cuda:
        _cpu_backward(query, key, value, out, normalizers, grad, qkv_grad, documents, scaling, window)
        return
    shape = query.shape
    if flash4.usable(query):
        attended, outer = _by_head(out, query), grad.view(shape)
        part_grads = _split(qkv_grad, heads, key_heads)
        flash4.backward((query, key, value), attended, normalizers, outer, part_grads, documents, scaling, window)
        return
    edge = (-1, 0) if window is None else (window - 1, 0)
    unused = _unused(qkv.device)
    pieces = torch.ops.aten._flash_attention_backward(
        *(grad.view(shape), query, key, value, out.reshape(shape), normalizers),
        *(documents.borders, documents.borders, documents.longest, documents.longest, 0.0, True),
        *unused,
        scale=scaling,
        window_size_left=edge[0],
        window_size_right=edge[1],
    )
    for place, piece in zip(_split(qkv_grad, heads, key_heads), pieces, strict=True):
        place.copy_(piece)


@functools.cache
def _unused(device: torch.device) -> tuple[Tensor, Tensor]:
    """The state of a dropout that is never drawn."""
    return torch.zeros(2, dtype=torch.uint64, device=device), torch.empty(0, device=device)


def _split(qkv: Tensor, heads: int, key_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views ``(rows, heads, head)`` of the three parts."""
    width = qkv.shape[1] // (heads + 2 * key_heads)
    shaped = qkv.view(len(qkv), heads + 2 * key_heads, width)
    return shaped[:, :heads], shaped[:, heads : heads + key_heads], shaped[:, heads + key_heads :]


def _by_head(rows: Tensor, like: Tensor) -> Tensor:
    """A view ``(rows, heads, head)`` of a part of a wider buffer."""
    return rows.as_strided(like.shape, (rows.stride(0), like.shape[2], 1))


def _cpu_forward(
    query: Tensor, key: Tensor, value: Tensor, out: Tensor, documents: Documents, scaling: float, window: int | None
) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    normalizers = query.new_empty(query.shape[1], len(query), dtype=sum_dtype(query.dtype))
    for span in documents.spans():
        q, k, v = (_one(states[span], times) for states, times in ((query, 1), (key, repeats), (value, repeats)))
        attended, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, window is None, attn_mask=_band(len(q[0, 0]), window, q), scale=scaling
        )
        out[span] = attended[0].transpose(0, 1).flatten(1)
        normalizers[:, span] = logsumexp[0]
    return normalizers


def _cpu_backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    normalizers: Tensor,
    grad: Tensor,
    qkv_grad: Tensor,
    documents: Documents,
    scaling: float,
    window: int | None,
) -> None:
    heads, key_heads = query.shape[1], key.shape[1]
    repeats = heads // key_heads
    places = _split(qkv_grad, heads, key_heads)
    for span in documents.spans():
        q, k, v = (_one(states[span], times) for states, times in ((query, 1), (key, repeats), (value, repeats)))
        outer, attended = (_one(states[span].reshape(len(q[0, 0]), heads, -1), 1) for states in (grad, out))
        pieces = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(outer, q, k, v, attended, normalizers[None, :, span].contiguous(), 0.0, window is None),
            attn_mask=_band(len(q[0, 0]), window, q),
            scale=scaling,
        )
        for place, piece in zip(places, pieces, strict=True):
            summed = piece[0].view(place.shape[1], -1, *piece.shape[2:]).sum(1)
            place[span] = summed.transpose(0, 1)


def _one(states: Tensor, repeats: int) -> Tensor:
    """``(tokens, heads, head)`` as a batch of one ``(1, heads * repeats, tokens, head)``, contiguous."""
    return states.transpose(0, 1).repeat_interleave(repeats, dim=0)[None].contiguous()


def _band(tokens: int, window: int | None, like: Tensor) -> Tensor | None:
    """The additive mask of a sliding window, or None where plain causal attention is meant."""
    if window is None:
        return None
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)[None, :]
    seen = (distance >= 0) & (distance < window)
    return torch.zeros(tokens, tokens, dtype=like.dtype).masked_fill_(~seen, -torch.inf)

"""What happens between the matrix products of a layer, forwards and backwards, a row a token.

On CUDA each function is one kernel (``triton_kernels``); elsewhere, and as its reference, plain PyTorch.  Backward
functions give the forward result too, where the incoming gradient lay: it is needed again and costs no pass.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from runner.model.devices import kernels_run_on

Activation = Literal["gelu", "swiglu"]
BLOCK = 4096  # columns that a program of an activation kernel works on; 1,024 was 14 % slower on an H200
GROUPED = 16  # heads that a program of a rotation works on; 4 were 20 % slower


@dataclass(frozen=True)
class Norm:
    """A layer norm, or a root-mean-square norm; ``weight`` and ``bias`` are ``(width,)`` and frozen."""

    kind: Literal["layer", "rms"]
    weight: Tensor
    bias: Tensor | None
    eps: float


@dataclass(frozen=True)
class HeadNorms:
    """Root-mean-square norms of every query and key head before its rotation; weights are ``(head,)`` and frozen."""

    query: Tensor
    key: Tensor
    eps: float


def norm_forward(norm: Norm, x: Tensor, out: Tensor, tail: tuple[int, int]) -> None:
    """Write the norm of ``x`` ``(rows, width)`` into the first columns of ``out``, and 1, 0, 0, ... into its tail."""
    if kernels_run_on(x):
        from runner.model.fused import triton_kernels

        width = x.shape[1]
        options = {"LAYER": norm.kind == "layer", "BIAS": norm.bias is not None, "BLOCK": _power_of_two(width)}
        triton_kernels.norm_forward[(len(x),)](
            x, x.stride(0), norm.weight, norm.bias, out, out.stride(0), *tail, width, norm.eps, **options, num_warps=8
        )
        return
    out[:, : x.shape[1]] = _normed(norm, x)
    write_tail(out, tail)


def norm_backward(norm: Norm, x: Tensor, grad: Tensor, residual: Tensor, out: Tensor) -> None:
    """``out`` = ``residual`` + the gradient of ``x`` ``(rows, width)``; ``grad`` becomes the norm of ``x``."""
    if kernels_run_on(x):
        from runner.model.fused import triton_kernels

        width = x.shape[1]
        options = {"LAYER": norm.kind == "layer", "BIAS": norm.bias is not None, "BLOCK": _power_of_two(width)}
        triton_kernels.norm_backward[(len(x),)](
            *(x, x.stride(0), norm.weight, norm.bias, grad, grad.stride(0), residual, residual.stride(0)),
            *(out, out.stride(0), width, norm.eps),
            **options,
            num_warps=8,
        )
        return
    wide = sum_dtype(x.dtype)
    values = x.to(wide)
    centred = values - values.mean(-1, keepdim=True) if norm.kind == "layer" else values
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + norm.eps)
    unit = centred * inverse
    outer = grad.to(wide) * norm.weight.to(wide)
    inner = outer - unit * (outer * unit).mean(-1, keepdim=True)
    if norm.kind == "layer":
        inner -= outer.mean(-1, keepdim=True)
    out.copy_(residual.to(wide) + inner * inverse)
    grad.copy_(_normed(norm, x))


def activation_forward(kind: Activation, x: Tensor, out: Tensor, tail: tuple[int, int]) -> None:
    """Write GELU (tanh form) of ``x``, or silu(gate) * up of ``x`` = [gate, up], into ``out``; tail as for the norm."""
    width = _activated(kind, x)
    if kernels_run_on(x):
        from runner.model.fused import triton_kernels

        kernel = triton_kernels.gelu_forward if kind == "gelu" else triton_kernels.swiglu_forward
        kernel[(len(x), -(-width // BLOCK))](x, x.stride(0), out, out.stride(0), *tail, width, BLOCK=BLOCK)
        return
    out[:, :width] = _activation(kind, x)
    write_tail(out, tail)


def activation_backward(kind: Activation, x: Tensor, grad: Tensor, out: Tensor) -> None:
    """``out`` = the gradient of ``x``; ``grad`` becomes the activation of ``x``."""
    width = _activated(kind, x)
    if kernels_run_on(x):
        from runner.model.fused import triton_kernels

        kernel = triton_kernels.gelu_backward if kind == "gelu" else triton_kernels.swiglu_backward
        kernel[(len(x), -(-width // BLOCK))](
            x, x.stride(0), grad, grad.stride(0), out, out.stride(0), width, BLOCK=BLOCK
        )
        return
    with torch.enable_grad():
        source = x.detach().requires_grad_()
        activated = _activation(kind, source)
        out.copy_(torch.autograd.grad(activated, source, grad)[0])
    grad.copy_(activated.detach())


def rotate(x: Tensor, cosine: Tensor, sine: Tensor, heads: int, *, back: bool = False) -> None:
    """Rotary embedding of the first ``heads`` heads of every row of ``x``, in place; ``back`` turns it back.

    ``cosine`` and ``sine`` are ``(rows, head / 2)``: both halves of a head turn by the same angles.
    """
    half, sign = cosine.shape[1], -1.0 if back else 1.0
    if kernels_run_on(x):
        from runner.model.fused import triton_kernels

        triton_kernels.rotate[(len(x), -(-heads // GROUPED))](
            x, x.stride(0), cosine, sine, cosine.stride(0), heads, half, sign, HEADS=GROUPED, HALF=_power_of_two(half)
        )
        return
    turned = x[:, : heads * 2 * half].view(len(x), heads, 2, half)
    first, second = turned[:, :, 0].clone(), turned[:, :, 1].clone()
    cos, sin = cosine[:, None, :], sign * sine[:, None, :]
    turned[:, :, 0] = first * cos - second * sin
    turned[:, :, 1] = second * cos + first * sin


def norm_and_rotate(norms: HeadNorms, x: Tensor, cosine: Tensor, sine: Tensor, heads: int, key_heads: int) -> Tensor:
    """``x`` ``(rows, (heads + 2 * key_heads) * head)`` with its query and key heads normed and then rotated."""
    out, half = torch.empty_like(x), cosine.shape[1]
    if kernels_run_on(x):
        from runner.model.fused import triton_kernels

        every = heads + 2 * key_heads
        triton_kernels.norm_and_rotate[(len(x), -(-every // GROUPED))](
            *(x, x.stride(0), out, out.stride(0), norms.query, norms.key, cosine, sine, cosine.stride(0)),
            *(heads, heads + key_heads, every, half, norms.eps),
            HEADS=GROUPED,
            HALF=_power_of_two(half),
        )
        return out
    out.copy_(x)
    turned = out[:, : (heads + key_heads) * 2 * half]
    turned.copy_(_unit_heads(norms, x, heads, key_heads)[0].flatten(1))
    rotate(out, cosine, sine, heads + key_heads)
    return out


def norm_and_rotate_backward(
    norms: HeadNorms, x: Tensor, grad: Tensor, cosine: Tensor, sine: Tensor, heads: int, key_heads: int
) -> None:
    """``grad``, the gradient of what ``norm_and_rotate`` made of ``x``, becomes that of ``x``."""
    half = cosine.shape[1]
    if kernels_run_on(x):
        from runner.model.fused import triton_kernels

        triton_kernels.norm_and_rotate_backward[(len(x), -(-(heads + key_heads) // GROUPED))](
            *(x, x.stride(0), grad, grad.stride(0), norms.query, norms.key, cosine, sine, cosine.stride(0)),
            *(heads, heads + key_heads, half, norms.eps),
            HEADS=GROUPED,
            HALF=_power_of_two(half),
        )
        return
    rotate(grad, cosine, sine, heads + key_heads, back=True)
    _, unit, inverse, weight = _unit_heads(norms, x, heads, key_heads)
    inner = grad[:, : (heads + key_heads) * 2 * half]
    outer = inner.view(unit.shape).to(unit.dtype) * weight
    inner.copy_(((outer - unit * (outer * unit).mean(-1, keepdim=True)) * inverse).flatten(1))


def _unit_heads(norms: HeadNorms, x: Tensor, heads: int, key_heads: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query and key heads ``(rows, heads, head)``: normed; without their weight; one over their size; the weight."""
    wide, width = sum_dtype(x.dtype), norms.query.shape[0]
    values = x[:, : (heads + key_heads) * width].to(wide).view(len(x), -1, width)
    inverse = torch.rsqrt(values.square().mean(-1, keepdim=True) + norms.eps)
    weight = torch.cat([norms.query.expand(heads, -1), norms.key.expand(key_heads, -1)]).to(wide)
    unit = values * inverse
    return unit * weight, unit, inverse, weight


def cross_entropy(logits: Tensor, targets: Tensor, losses: Tensor, scale: float | None) -> None:
    """Write the loss of each row of ``logits`` ``(rows, vocabulary)`` into ``losses`` ``(rows,)``.

    With a ``scale`` the logits become ``scale`` x their gradient.
    """
    if kernels_run_on(logits):
        from runner.model.fused import triton_kernels

        vocabulary, gradient = logits.shape[1], scale is not None
        triton_kernels.cross_entropy[(len(logits),)](
            *(logits, logits.stride(0), targets, losses, scale or 0.0),
            VOCABULARY=vocabulary,
            GRADIENT=gradient,
            BLOCK=min(4096, _power_of_two(vocabulary)),
            num_warps=8,
        )
        return
    values = logits.to(sum_dtype(logits.dtype))
    normalizer = values.logsumexp(dim=-1)
    picked = values.gather(1, targets[:, None])
    losses.copy_(normalizer - picked[:, 0])
    if scale is None:
        return
    error = values.sub_(normalizer[:, None]).exp_()  # softmax, then minus one at the target
    at_target = (picked - normalizer[:, None]).exp_().sub_(1.0)
    error.scatter_(1, targets[:, None], at_target)
    logits.copy_(error.mul_(scale))


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that values of ``dtype`` are summed in: float32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


def write_tail(out: Tensor, tail: tuple[int, int]) -> None:
    """Fill the columns ``tail`` of ``out`` with 1, 0, 0, ...: what a bias is multiplied with, and padding."""
    start, end = tail
    if start < end:
        out[:, start : start + 1] = 1.0
        out[:, start + 1 : end] = 0.0


def _normed(norm: Norm, x: Tensor) -> Tensor:
    if norm.kind == "layer":
        return F.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, norm.eps)
    return F.rms_norm(x, (x.shape[-1],), norm.weight, norm.eps)


def _activation(kind: Activation, x: Tensor) -> Tensor:
    if kind == "gelu":
        return F.gelu(x, approximate="tanh")
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def _activated(kind: Activation, x: Tensor) -> int:
    return x.shape[1] if kind == "gelu" else x.shape[1] // 2


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()

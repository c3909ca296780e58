"""Rounding frozen linear layers to the 16 values of 4-bit NormalFloat, the base of QLoRA (arXiv:2305.14314).

Holding the rounded weights in 4 bits is bitsandbytes' own ``Linear4bit``, which can be read here; the same values can
also be kept dequantised, without the cost of unpacking them in every step.
"""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from runner.model.devices import kernels_run_on

BLOCK = 64  # weights that share one scale; the scales themselves are quantised to 8 bits (double quantisation)


def frozen_linears(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Every linear layer but the output head, by name: what bitsandbytes would replace."""
    lm: Any = model
    head = lm.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head:
            yield name, module


@torch.no_grad()
def nf4_rounded(weight: Tensor) -> Tensor:
    """``weight`` after a round trip through double-quantised NF4; same shape, dtype and device."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of fused CPU kernels that are not used here
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed, state = quantize_4bit(weight.contiguous(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
    rounded: Tensor = dequantize_4bit(packed, state)
    return rounded.to(weight.dtype).reshape(weight.shape)


@torch.no_grad()
def round_to_nf4(model: nn.Module) -> int:
    """Round every frozen linear layer of ``model`` in place; returns the number of weights rounded."""
    count = 0
    for _, linear in frozen_linears(model):
        linear.weight.data.copy_(nf4_rounded(linear.weight.data))
        count += linear.weight.numel()
    return count


def is_packed(linear: nn.Linear) -> bool:
    """Whether ``linear`` is bitsandbytes' own and holds its weights in 4 bits."""
    return getattr(linear.weight, "quant_state", None) is not None


def unpacked(linear: nn.Linear) -> Tensor:
    """The weights ``(outputs, inputs)`` that a packed ``linear`` multiplies with."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Any = linear.weight
    result: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return result


def unpack_into(linear: nn.Linear, out: Tensor) -> None:
    """Write the weights that a packed ``linear`` multiplies with into ``out`` ``(outputs, inputs)``, a row a stride.

    On CUDA it is one kernel, which rounds as bitsandbytes' do: the bits are the same.
    """
    if not kernels_run_on(out):
        out.copy_(unpacked(linear))
        return
    from runner.model.triton_nf4 import PAIRS, unpack_rows

    weight: Any = linear.weight
    state, (outputs, inputs) = weight.quant_state, out.shape
    scales = state.state2
    unpack_rows[(outputs, -(-inputs // (2 * PAIRS)))](
        *(weight.data, state.absmax, scales.code, scales.absmax, state.offset, state.code),
        *(out, out.stride(0), inputs // 2, state.blocksize // 2, scales.blocksize),
        PAIRS=PAIRS,
        enable_fp_fusion=False,  # scales are multiplied, rounded and then added to, as bitsandbytes does it
    )


def unpacked_dtype(linear: nn.Linear) -> torch.dtype:
    """The type of the weights that ``linear`` multiplies with, packed or not."""
    weight: Any = linear.weight
    dtype: torch.dtype = weight.quant_state.dtype if is_packed(linear) else weight.dtype
    return dtype

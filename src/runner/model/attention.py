"""Attention over packed buffers: many documents side by side, each seeing only itself.

On CUDA the variable-length flash kernel reads the document borders; elsewhere transformers' own scaled dot
product attention builds a block mask from ``position_ids`` that restart at every document.  Either way the
caller passes no attention mask and no cache: with one of them transformers would let documents see each other.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from runner.errors import UserError
from runner.model.fused import transformers_layers
from runner.model.kinds import REMEDY, refuse_terms

PACKED = "runner_packed"


def attention_for(device: torch.device, dtype: torch.dtype) -> str:
    """The attention implementation for training: ``runner_packed`` on CUDA in 16 bits, else ``sdpa``."""
    return PACKED if device.type == "cuda" and dtype in (torch.bfloat16, torch.float16) else "sdpa"


def register_packed_attention() -> None:
    """Make ``runner_packed`` known to transformers; safe to call twice."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(PACKED, _packed_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(PACKED, _no_mask)


@contextmanager
def padded_attention(model: nn.Module) -> Iterator[None]:
    """Within the block ``model`` attends over padded batches with a cache, uncompiled: for generation."""
    compiled = [(module, module._compiled_call_impl) for module in model.modules() if module._compiled_call_impl]
    config: Any = model.config
    before = config._attn_implementation
    try:
        for module, _ in compiled:
            module._compiled_call_impl = None
        config._attn_implementation = "sdpa"
        with transformers_layers(model):
            yield
    finally:
        config._attn_implementation = before
        for module, call in compiled:
            module._compiled_call_impl = call


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """The document borders say everything that a mask would."""


def _packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within documents; query ``(batch, heads, seq, head)``, borders over ``batch * seq``.

    The result is ``(batch, seq, heads, head)``.  A sliding window counts the token itself, as transformers does.
    Raises ``UserError`` for a model that hands on no borders, or a term of attention that is not computed.
    """
    refuse_terms(options)
    if cu_seq_lens_q is None:
        raise UserError("the model does not tell its attention where documents end", "model.id", REMEDY)
    from torch.nn.attention.varlen import varlen_attn

    assert attention_mask is None, "packed attention takes borders, not a mask"
    batch, heads, seq, width = query.shape
    grouped: dict[str, Any] = {}
    if key.shape[1] != heads:
        if _grouped_queries_supported():
            grouped["enable_gqa"] = True
        else:
            repeats = heads // key.shape[1]
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    window = (-1, 0) if sliding_window is None or sliding_window >= max_length_q else (sliding_window - 1, 0)
    q, k, v = (states.transpose(1, 2).reshape(batch * seq, -1, width) for states in (query, key, value))
    attended: Any = varlen_attn(
        q,
        k,
        v,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=window,
        **grouped,
    )
    output: Tensor = attended.view(batch, seq, heads, width)
    return output, None


@cache
def _grouped_queries_supported() -> bool:
    """Whether this torch's kernel takes fewer key heads than query heads (2.13 does, 2.11 does not).

    Asked at the first use: importing the kernel brings torch's compiler with it, half of a CPU run's imports.
    """
    from torch.nn.attention import varlen

    return "enable_gqa" in inspect.signature(varlen.varlen_attn).parameters

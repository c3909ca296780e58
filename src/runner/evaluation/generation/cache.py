"""Keys and values of rows that each stand at a position of their own, and attention over them.

transformers' attention modules store and read through here; what is asked of the model is ``slots``'s.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from runner.model.kinds import refuse_terms

ATTENTION = "runner_slots"


def register_slot_attention() -> None:
    """Make ``runner_slots`` known to transformers; safe to call twice.

    Of its masks transformers makes none for an implementation that has no mask function: they are made here.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _slot_attention)


def cache_bytes(lm: Any, tokens: int) -> int:
    """What keys and values of ``tokens`` tokens take in all layers of ``lm``, a causal model of transformers."""
    config = lm.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * tokens * next(lm.parameters()).element_size())


class SlotCache:
    """Buffers ``(slots, key heads, capacity, head)`` of every layer, in the place of a transformers cache.

    They start as zeros, for what is masked is still multiplied; they are made at the first store.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots, self.capacity = slots, capacity
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.current: Pass | None = None

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values ``(rows, key heads, new, head)``; back come those to attend to."""
        if layer_idx not in self.layers:
            self.layers[layer_idx] = (self._buffer(keys), self._buffer(values))
        assert self.current is not None, "a pass through the model says first what it is"
        return self.current.store(self.layers[layer_idx], keys, values)

    def copy_slots(self, sources: Tensor, targets: Tensor, columns: int) -> None:
        """The first ``columns`` of the slots ``sources`` into ``targets``; no slot is in both."""
        for buffers in self.layers.values():
            for buffer in buffers:
                buffer[targets, :, :columns] = buffer[sources, :, :columns]

    def _buffer(self, states: Tensor) -> Tensor:
        _, heads, _, width = states.shape
        return states.new_zeros(self.slots, heads, self.capacity, width)


class Pass(Protocol):
    """One pass through the model: where its keys go, and what its queries see."""

    def store(self, buffers: tuple[Tensor, Tensor], keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]: ...

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor: ...


class Prefill:
    """Whole prompts, padded on the right, into ``slots``; slot ``slots[i]`` gets the prompt in row ``rows[i]``.

    Padding needs no mask: no prompt's token looks to its right, and stored padding is written over in time.
    """

    def __init__(self, slots: Tensor, rows: Tensor) -> None:
        self._slots, self._rows = slots, rows

    def store(self, buffers: tuple[Tensor, Tensor], keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        for buffer, states in zip(buffers, (keys, values), strict=True):
            buffer[self._slots, :, : states.shape[2]] = states[self._rows]
        return keys, values

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor:
        groups, length = query.shape[1] // key.shape[1], query.shape[2]
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
        if window is None or window >= length:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        places = torch.arange(length, device=query.device)
        seen = _seen(places[:, None], places, window)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scaling)


class Decode:
    """One token a row, in the first slots; of the cache the first ``columns`` are read."""

    def __init__(self, positions: Tensor, columns: int) -> None:
        self._positions, self._columns = positions, columns
        self._rows = torch.arange(len(positions), device=positions.device)
        self._masks: dict[int | None, Tensor] = {}

    def store(self, buffers: tuple[Tensor, Tensor], keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        for buffer, states in zip(buffers, (keys, values), strict=True):
            buffer[self._rows, :, self._positions] = states[:, :, 0]
        seen, heard = (buffer[: len(self._rows), :, : self._columns] for buffer in buffers)
        return seen, heard

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor:
        rows, heads, _, width = query.shape
        # the query heads that share a key head stand as its queries: keys and values are not repeated
        grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], width)
        mask = self._mask(window, query.dtype)
        attended = F.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
        return attended.reshape(rows, heads, 1, attended.shape[-1])

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """What is added to the scores, ``(rows, 1, 1, columns)``; finite, so that no row becomes not-a-number."""
        if window not in self._masks:
            places = torch.arange(self._columns, device=self._positions.device)
            hidden = ~_seen(self._positions[:, None], places, window)
            mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            self._masks[window] = mask.masked_fill(hidden, torch.finfo(dtype).min)[:, None, None]
        return self._masks[window]


def _seen(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """Whether a query's position sees a key's; a window counts the token itself, as transformers does."""
    seen = keys <= queries
    return seen if window is None else seen & (keys > queries - window)


def _slot_attention(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    scaling: float,
    slot_pass: Pass,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of one pass; query ``(rows, heads, new, head)``, the result ``(rows, new, heads, head)``."""
    refuse_terms(options)
    attended = slot_pass.attend(query, key, value, scaling, sliding_window)
    return attended.transpose(1, 2).contiguous(), None

"""Adapters allocated once at the largest rank of a search and used at any rank up to it.

Beyond the rank, rows of A and columns of B are zero: their gradients are then zero too, and AdamW leaves them so.
Training them is ``trunk``'s.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runner.config.job import Lora
from runner.model.adapter import save_adapter
from runner.model.fused import fused_layers
from runner.train.weights import FlatWeights, Slot


@dataclass(frozen=True)
class _Pair:
    """Where one layer's adapter lies: A ``(largest rank, inputs)``, B ``(outputs, largest rank)``."""

    down: Slot
    up: Slot


class PaddedAdapters:
    """The adapter of ``model``, which was made at the largest rank; nothing here ever allocates on its device."""

    def __init__(self, model: nn.Module, weights: FlatWeights) -> None:
        wrapper: Any = model
        self._model, self._weights = model, weights
        self._config = wrapper.peft_config["default"]
        self._layers: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
        slots = {slot.name: slot for slot in weights.slots}
        names = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
        self._pairs = [
            _Pair(*(slots[f"{name}.{part}.default.weight"] for part in ("lora_A", "lora_B"))) for name in names
        ]
        self._dtype = next(parameter.dtype for parameter in model.parameters() if parameter.requires_grad)
        self._scale = _scale_in_place(self._layers, weights.master.device) if _compiled(model) else None
        self.largest_rank = int(self._config.r)
        self.rank = self.largest_rank
        self.starts = 0  # how often the adapters were started anew

    @torch.no_grad()
    def start(self, lora: Lora, *, seed: int) -> None:
        """Be what ``add_adapter`` makes of ``lora`` with ``seed``, number for number, and zero beyond its rank."""
        assert lora.rank <= self.largest_rank, f"rank {lora.rank} in adapters of rank {self.largest_rank}"
        self.rank, self.starts = lora.rank, self.starts + 1
        self._config.r, self._config.lora_alpha = lora.rank, lora.alpha
        master = self._weights.master
        master.zero_()
        torch.manual_seed(seed)
        for pair in self._pairs:
            drawn = _drawn_as_peft_does(pair.down.shape[1], lora.rank, pair.up.shape[0])
            pair.down.of(master)[: lora.rank].copy_(drawn.to(self._dtype))
        self._rescale(lora.alpha / lora.rank)
        self._weights.publish()

    def _rescale(self, scale: float) -> None:
        if self._scale is not None:
            self._scale.fill_(scale)
        else:
            for layer in self._layers:
                layer.scaling["default"] = scale
        for parts in fused_layers(self._model):
            parts.rescale(scale)

    def cut(self, flat: Tensor) -> dict[str, Tensor]:
        """The parameters in ``flat``, a buffer like the masters, by name and without what is beyond the rank."""
        named = {pair.down.name: pair.down.of(flat)[: self.rank] for pair in self._pairs}
        named |= {pair.up.name: pair.up.of(flat)[:, : self.rank] for pair in self._pairs}
        return {slot.name: named[slot.name].contiguous() for slot in self._weights.slots}

    def save(self, flat: Tensor, directory: Path, *, base_id: str) -> None:
        """Write the adapter in ``flat`` as PEFT files of the true rank."""
        directory.mkdir(parents=True, exist_ok=True)
        save_adapter(self._model, self.cut(flat), directory, base_id=base_id)


def _drawn_as_peft_does(inputs: int, rank: int, outputs: int) -> Tensor:
    """The start of A ``(rank, inputs)``; PEFT 0.21 draws A as torch does, B as torch does, and then A again."""
    down = nn.Linear(inputs, rank, bias=False)
    nn.Linear(rank, outputs, bias=False)
    nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
    return down.weight.data


def _compiled(model: nn.Module) -> bool:
    return any(module._compiled_call_impl is not None for module in model.modules())


def _scale_in_place(layers: list[Any], device: torch.device) -> Tensor:
    """One tensor that every layer scales by: another number as a constant would be compiled again.

    It has a dimension so that 16-bit products are scaled in float32, as they are by a constant.
    """
    scale = torch.ones(1, dtype=torch.float32, device=device)
    for layer in layers:
        layer.scaling["default"] = scale
    return scale

"""The trainable parameters as one flat buffer: one gradient to sum over ranks, to clip and to step.

The model computes with views of the buffer; in 16 bits it computes with a rounded copy and the float32
master weights stay exact.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from runner.model.fused import fused_layers
from runner.model.fused.elementwise import sum_dtype

ALIGNMENT = 32  # elements; every view starts on a 64-byte border also in 16 bits


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies in the flat buffer."""

    name: str
    offset: int
    shape: torch.Size

    @property
    def count(self) -> int:
        """Elements of the parameter."""
        return self.shape.numel()

    def of(self, flat: Tensor) -> Tensor:
        """The parameter's part of ``flat``, in its own shape; a view."""
        return flat[self.offset : self.offset + self.count].view(self.shape)


class FlatWeights:
    """Float32 masters of every parameter of ``model`` that requires a gradient, and their summed gradient.

    Masters of float64 parameters are float64.  Matrices lie before vectors, so that ``decayed`` (the first part of
    the buffer) is what weight decay is for.
    """

    def __init__(self, model: nn.Module) -> None:
        trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        trainable.sort(key=lambda pair: pair[1].ndim < 2)  # stable: the model's order within each kind
        assert trainable, "nothing to train"
        offset, self.slots = 0, list[Slot]()
        self.decayed = 0
        for name, parameter in trainable:
            self.slots.append(Slot(name, offset, parameter.shape))
            offset += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
            if parameter.ndim >= 2:
                self.decayed = offset
        first = trainable[0][1]
        self._fused = fused_layers(model)
        self.master = torch.zeros(offset, dtype=sum_dtype(first.dtype), device=first.device)
        self.gradient = torch.zeros_like(self.master)
        exact = all(parameter.dtype == self.master.dtype for _, parameter in trainable)
        self._working = self.master if exact else torch.zeros_like(self.master, dtype=first.dtype)
        self._local = self.gradient if exact else torch.zeros_like(self._working)
        for slot, (_, parameter) in zip(self.slots, trainable, strict=True):
            slot.of(self.master).copy_(parameter.data)
            parameter.data = slot.of(self._working)
            parameter.grad = slot.of(self._local)
        self.publish()

    @property
    def count(self) -> int:
        """Trainable parameters, padding of the buffer not counted."""
        return sum(slot.count for slot in self.slots)

    def clear_gradient(self) -> None:
        """Start a new optimizer step."""
        self.gradient.zero_()

    def forget_gradient(self) -> None:
        """Clear also what a backward pass may have left that was never collected, because an error ended the step."""
        self.gradient.zero_()
        self._local.zero_()

    def collect_gradient(self) -> None:
        """Add what the last backward pass left to the float32 gradient; call once a micro-batch."""
        if self._local is not self.gradient:
            self.gradient.add_(self._local)
            self._local.zero_()

    @torch.no_grad()
    def publish(self) -> None:
        """Let the model compute with the masters as they are now."""
        if self._working is not self.master:
            self._working.copy_(self.master)
        for layer in self._fused:
            layer.refresh()

    def named(self, flat: Tensor | None = None) -> Iterator[tuple[str, Tensor]]:
        """Each parameter's name and its part of ``flat`` (the masters when not given), as views."""
        for slot in self.slots:
            yield slot.name, slot.of(self.master if flat is None else flat)

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor], flat: Tensor | None = None) -> None:
        """Copy ``values`` by name into ``flat`` (the masters when not given); every name must be there, no other."""
        assert set(values) == {slot.name for slot in self.slots}, "a checkpoint of other parameters"
        for name, view in self.named(flat):
            view.copy_(values[name])

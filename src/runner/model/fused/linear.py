"""Frozen linear layers that read one input, with their adapters and biases, as one matrix product each way.

One matrix holds everything:

                K inputs      R   1
            +---------------+----+---+
   N outputs |      W        | sB | b |        y  = [x, xA', 1] [W, sB, b]'
            +---------------+----+---+
   R ranks   |      A        |              dx = [dy, dy sB] [W; A]
            +---------------+

Read by rows it is the forward product, by columns the backward one, and neither writes the adapter's share
to memory on its own.  The sums are those of PEFT's layers with fewer roundings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALIGNMENT = 8  # elements: rows start on 16-byte borders in 16 bits, which the fast products need


@dataclass(frozen=True)
class Member:
    """One linear layer and its adapter: ``A`` ``(rank, inputs)``, ``B`` ``(outputs, rank)``, or none of both."""

    linear: nn.Linear
    down: nn.Parameter | None
    up: nn.Parameter | None
    scale: float

    @property
    def rank(self) -> int:
        """Rank of the adapter; 0 without one."""
        return 0 if self.down is None else self.down.shape[0]


class JoinedLinear:
    """``members`` side by side; their base weights become views of the joined matrix."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        first = members[0].linear
        self.inputs = first.in_features
        self.outputs = sum(member.linear.out_features for member in members)
        self.ranks = sum(member.rank for member in members)
        biased = any(member.linear.bias is not None for member in members)
        extra = _aligned(self.ranks + biased)
        self.tail = (self.inputs + self.ranks, self.inputs + extra)  # columns of an input buffer: 1, 0, 0, ...
        self.input_width = self.inputs + extra
        self.grad_width = self.outputs + _aligned(self.ranks)
        shape = (self.grad_width, self.input_width)
        self.matrix = torch.zeros(shape, dtype=first.weight.dtype, device=first.weight.device)
        row = 0
        for member in members:
            linear, place = member.linear, slice(row, row + member.linear.out_features)
            self.matrix[place, : self.inputs].copy_(linear.weight.data)
            linear.weight.data = self.matrix[place, : self.inputs]
            if linear.bias is not None:
                self.matrix[place, self.tail[0]] = linear.bias.data
            row = place.stop
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the adapters as they are now; call after every optimizer step."""
        row, rank = 0, 0
        for member in self.members:
            if member.down is not None and member.up is not None:
                ranks = slice(rank, rank + member.rank)
                self._down[ranks].copy_(member.down.data)
                torch.mul(member.up.data, member.scale, out=self._up[row : row + member.up.shape[0], ranks])
            row, rank = row + member.linear.out_features, rank + member.rank

    @property
    def _down(self) -> Tensor:
        return self.matrix[self.outputs : self.outputs + self.ranks, : self.inputs]

    @property
    def _up(self) -> Tensor:
        return self.matrix[: self.outputs, self.inputs : self.inputs + self.ranks]

    def input_buffer(self, like: Tensor) -> Tensor:
        """An uninitialised ``(rows, input_width)`` matrix, to hold the input, its projections and the tail."""
        return like.new_empty(len(like), self.input_width)

    def grad_buffer(self, like: Tensor) -> Tensor:
        """An uninitialised ``(rows, grad_width)`` matrix for the outputs' gradient; its padding is zero."""
        buffer = like.new_empty(len(like), self.grad_width)
        if self.outputs + self.ranks < self.grad_width:
            buffer[:, self.outputs + self.ranks :] = 0.0
        return buffer

    def project_down(self, x: Tensor) -> Tensor:
        """Fill the projections ``x A'`` of an input buffer; returns them, ``(rows, ranks)``, as a view."""
        projected = x[:, self.inputs : self.inputs + self.ranks]
        if self.ranks:
            torch.mm(x[:, : self.inputs], self._down.t(), out=projected)
        return projected

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """The outputs ``(rows, outputs)`` of a filled input buffer, added to ``onto`` in place when it is given."""
        weight = self.matrix[: self.outputs].t()
        return torch.mm(x, weight) if onto is None else onto.addmm_(x, weight)

    def backward(self, grad: Tensor) -> Tensor:
        """The input's gradient ``(rows, inputs)``; ``grad`` is a gradient buffer whose outputs' part is filled."""
        if self.ranks:
            torch.mm(grad[:, : self.outputs], self._up, out=grad[:, self.outputs : self.outputs + self.ranks])
        return torch.mm(grad, self.matrix[:, : self.inputs])

    def accumulate(self, x: Tensor, projected: Tensor, grad: Tensor) -> None:
        """Add to the adapters' gradients; ``x`` is the input, ``grad`` a gradient buffer after ``backward``."""
        if not self.ranks:
            return
        down = torch.mm(grad[:, self.outputs : self.outputs + self.ranks].t(), x[:, : self.inputs])
        row, rank = 0, 0
        for member in self.members:
            if member.down is not None and member.up is not None:
                ranks = slice(rank, rank + member.rank)
                member.down.grad = _added(member.down.grad, down[ranks])
                outputs = grad[:, row : row + member.linear.out_features]
                if member.up.grad is None:
                    member.up.grad = torch.zeros_like(member.up)
                member.up.grad.addmm_(outputs.t(), projected[:, ranks], alpha=member.scale)
            row, rank = row + member.linear.out_features, rank + member.rank


def _added(before: Tensor | None, more: Tensor) -> Tensor:
    return more.clone() if before is None else before.add_(more)


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT

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
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from runner.model.nf4 import is_packed, unpack_into, unpacked_dtype

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
    """``members`` side by side.

    Weights in 16 or 32 bits move into the joined matrix, and the modules' own become views of it.  Weights in 4 bits
    stay where they are and are unpacked for every product into memory that all packed layers share.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        first = members[0].linear
        self.inputs = first.in_features
        self.outputs = sum(member.linear.out_features for member in members)
        self.ranks = sum(member.rank for member in members)
        self.packed = is_packed(first)
        assert all(is_packed(member.linear) == self.packed for member in members), "joined layers are held alike"
        biased = any(member.linear.bias is not None for member in members)
        extra = _aligned(self.ranks + biased)
        self.tail = (self.inputs + self.ranks, self.inputs + extra)  # columns of an input buffer: 1, 0, 0, ...
        self.input_width = self.inputs + extra
        self.grad_width = self.outputs + _aligned(self.ranks)
        dtype, device = unpacked_dtype(first), first.weight.device
        if self.packed:
            self._columns = torch.zeros(self.outputs, extra, dtype=dtype, device=device)
            self._rows = torch.zeros(self.grad_width - self.outputs, self.inputs, dtype=dtype, device=device)
        else:
            self._matrix = torch.zeros(self.grad_width, self.input_width, dtype=dtype, device=device)
            self._columns = self._matrix[: self.outputs, self.inputs :]
            self._rows = self._matrix[self.outputs :, : self.inputs]
        row = 0
        for member in members:
            linear, place = member.linear, slice(row, row + member.linear.out_features)
            if not self.packed:
                self._matrix[place, : self.inputs].copy_(linear.weight.data)
                linear.weight.data = self._matrix[place, : self.inputs]
            if linear.bias is not None:
                self._columns[place, self.ranks] = linear.bias.data
            row = place.stop
        self.refresh()

    def rescale(self, scale: float) -> None:
        """Scale every adapter by ``scale`` from the next ``refresh`` on."""
        self.members = tuple(replace(member, scale=scale) for member in self.members)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the adapters as they are now; call after every optimizer step."""
        row, rank = 0, 0
        for member in self.members:
            if member.down is not None and member.up is not None:
                ranks = slice(rank, rank + member.rank)
                self._rows[ranks].copy_(member.down.data)
                torch.mul(member.up.data, member.scale, out=self._columns[row : row + member.up.shape[0], ranks])
            row, rank = row + member.linear.out_features, rank + member.rank

    def matrix(self) -> Tensor:
        """``(grad_width, input_width)``; of packed layers valid until the next one is asked for.

        Their corner of ranks and biases, which no product reads, holds anything.
        """
        if not self.packed:
            return self._matrix
        elements = self.grad_width * self.input_width
        self._room = _room(elements, self._rows.dtype, self._rows.device)  # kept: a recorded pass writes there
        matrix = self._room[:elements].view(self.grad_width, self.input_width)
        row = 0
        for member in self.members:
            place = slice(row, row + member.linear.out_features)
            unpack_into(member.linear, matrix[place, : self.inputs])
            row = place.stop
        matrix[: self.outputs, self.inputs :].copy_(self._columns)
        matrix[self.outputs :, : self.inputs].copy_(self._rows)
        return matrix

    @property
    def _down(self) -> Tensor:
        return self._rows[: self.ranks]

    @property
    def _up(self) -> Tensor:
        return self._columns[:, : self.ranks]

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
        weight = self.matrix()[: self.outputs].t()
        return torch.mm(x, weight) if onto is None else onto.addmm_(x, weight)

    def backward(self, grad: Tensor) -> Tensor:
        """The input's gradient ``(rows, inputs)``; ``grad`` is a gradient buffer whose outputs' part is filled."""
        if self.ranks:
            torch.mm(grad[:, : self.outputs], self._up, out=grad[:, self.outputs : self.outputs + self.ranks])
        return torch.mm(grad, self.matrix()[:, : self.inputs])

    def accumulate(self, x: Tensor, projected: Tensor, grad: Tensor) -> None:
        """Add to the adapters' gradients; ``x`` is the input, ``grad`` a gradient buffer after ``backward``."""
        if not self.ranks:
            return
        down_grad = grad[:, self.outputs : self.outputs + self.ranks]
        downs = None if len(self.members) == 1 else torch.mm(down_grad.t(), x[:, : self.inputs])  # x is read once
        row, rank = 0, 0
        for member in self.members:
            if member.down is not None and member.up is not None:
                ranks = slice(rank, rank + member.rank)
                if downs is None:
                    _gradient(member.down).addmm_(down_grad.t(), x[:, : self.inputs])
                else:
                    _gradient(member.down).add_(downs[ranks])
                outputs = grad[:, row : row + member.linear.out_features]
                _gradient(member.up).addmm_(outputs.t(), projected[:, ranks], alpha=member.scale)
            row, rank = row + member.linear.out_features, rank + member.rank


_rooms: dict[tuple[torch.dtype, torch.device], Tensor] = {}


def _room(elements: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for at least so many elements, the same for all packed layers in turn."""
    room = _rooms.get((dtype, device))
    if room is None or room.numel() < elements:
        room = _rooms[dtype, device] = torch.empty(elements, dtype=dtype, device=device)
    return room


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT

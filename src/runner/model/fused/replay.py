"""The pass over all written-out layers as two CUDA graphs, forwards and backwards, recorded once and replayed.

Between the kernels of a step the device would wait for the next launch; within a graph it hardly does.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from runner.model.fused.borders import Documents

WARM_UP = 2  # passes of one kind before it is recorded: kernels are compiled and chosen in them


class Replays:
    """The passes of one model: recorded once several of one kind have followed each other, and replayed from then on.

    One recording is kept, for its memory is that of a whole pass: a training pass of another kind drops it, and so
    does a pass without a gradient that finds no room beside it.  Where there is no room for a recording itself, passes
    of that kind go on unrecorded, with a warning.
    """

    def __init__(self, lm: Any) -> None:
        self._lm = lm
        self._kind: tuple[float, ...] = ()
        self._seen = 0
        self._recorded: _Recorded | None = None
        self._no_room = False  # for a recording of this kind

    def states(self, ids: Tensor, positions: Tensor, documents: Documents, *, scale: float) -> Tensor:
        """As ``layer_states``; ``scale`` is the adapters', which a recording holds as a number."""
        if not torch.is_grad_enabled():
            return self._measured(ids, positions, documents)
        kind = (*ids.shape, len(documents.borders), scale)
        if kind != self._kind:
            self._kind, self._seen, self._recorded, self._no_room = kind, 0, None, False
        self._seen += 1
        if self._seen > WARM_UP and self._recorded is None and not self._no_room:
            self._record(ids, positions, documents)
        if self._recorded is None:
            return layer_states(self._lm, ids, positions, documents)
        anchor = next(parameter for parameter in self._lm.parameters() if parameter.requires_grad)
        apply: Any = _Replayed.apply
        states: Tensor = apply(self._recorded, ids, positions, documents.borders, anchor)
        return states

    def _record(self, ids: Tensor, positions: Tensor, documents: Documents) -> None:
        torch.cuda.empty_cache()  # blocks of the passes before cannot be used by the recording
        try:
            self._recorded = _Recorded(self._lm, ids, positions, documents)
        except torch.OutOfMemoryError:
            self._no_room = True
            warnings.warn("no memory to record a pass as CUDA graphs: steps go on unrecorded, slower", stacklevel=2)
        if self._no_room:  # here, where nothing refers to the failed recording any more
            torch.cuda.empty_cache()

    def _measured(self, ids: Tensor, positions: Tensor, documents: Documents) -> Tensor:
        try:
            return layer_states(self._lm, ids, positions, documents)
        except torch.OutOfMemoryError:
            if self._recorded is None:
                raise
        self._recorded = None  # the next training pass is recorded anew
        torch.cuda.empty_cache()
        return layer_states(self._lm, ids, positions, documents)


def layer_states(lm: Any, ids: Tensor, positions: Tensor, documents: Documents) -> Tensor:
    """The states ``(batch, length, hidden)`` after all written-out layers of ``lm`` and the last norm."""
    decoder = lm.get_decoder()
    states: Tensor = decoder.embed_tokens(ids)
    position_embeddings = decoder.rotary_emb(states, positions)
    for layer in decoder.layers:
        states = layer(states, position_embeddings=position_embeddings, documents=documents)
    result: Tensor = decoder.norm(states)
    return result


class _Recorded:
    """The graphs of one kind of pass, and the memory that they read and write."""

    def __init__(self, lm: nn.Module, ids: Tensor, positions: Tensor, documents: Documents) -> None:
        self._ids, self._positions, self._borders = ids.clone(), positions.clone(), documents.borders.clone()
        # as many documents as there is room for borders: those that are not there have no tokens
        room = Documents(self._borders, (0,) * (len(self._borders) - 1), documents.longest)
        pool = torch.cuda.graph_pool_handle()
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # the mode lets other threads of the process use CUDA meanwhile
        with torch.cuda.graph(self._forward, pool=pool, capture_error_mode="thread_local"):
            states = layer_states(lm, self._ids, self._positions, room)
        self.states, self._grad = states.detach(), torch.empty_like(states)
        with torch.cuda.graph(self._backward, pool=pool, capture_error_mode="thread_local"):
            torch.autograd.backward(states, self._grad)

    def run_forward(self, ids: Tensor, positions: Tensor, borders: Tensor) -> None:
        """Fill ``states``, which stay until the next pass."""
        self._ids.copy_(ids)
        self._positions.copy_(positions)
        self._borders.copy_(borders)
        self._forward.replay()

    def run_backward(self, grad: Tensor) -> None:
        """Add to the adapters' gradients; ``grad`` is that of ``states``."""
        self._grad.copy_(grad)
        self._backward.replay()


class _Replayed(torch.autograd.Function):
    """A recorded pass as one differentiable operation; the anchor makes autograd call ``backward``."""

    @staticmethod
    def forward(
        ctx: Any, recorded: _Recorded, ids: Tensor, positions: Tensor, borders: Tensor, _anchor: Tensor
    ) -> Tensor:
        ctx.recorded = recorded
        recorded.run_forward(ids, positions, borders)
        return recorded.states.view_as(recorded.states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None, None, None]:
        ctx.recorded.run_backward(grads[0])
        return None, None, None, None, None

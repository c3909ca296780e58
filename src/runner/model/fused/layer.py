"""One decoder layer, forwards and backwards, written out.

What autograd would keep of a layer is chosen here: its input, queries, keys and values after rotation, the
attention's result, the sum after attention and the activation's input.  The rest is computed again on the way
back, in passes that are made anyway.  ``Kept`` says how much less may be kept where memory is short.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from runner.model.fused.attention import attention_backward, attention_forward
from runner.model.fused.borders import Documents
from runner.model.fused.elementwise import (
    Activation,
    HeadNorms,
    Norm,
    activation_backward,
    activation_forward,
    norm_and_rotate,
    norm_and_rotate_backward,
    norm_backward,
    norm_forward,
    rotate,
    write_tail,
)
from runner.model.fused.linear import JoinedLinear

Kept = Literal["all", "attention", "input"]
"""What a layer keeps for its backward pass: all; all but the activation's input; its own input alone."""


@dataclass
class LayerParts:
    """A decoder layer's frozen norms and joined linear layers, and what it keeps."""

    attention_norm: Norm
    qkv: JoinedLinear
    output: JoinedLinear
    mlp_norm: Norm
    rise: JoinedLinear  # to the width of the MLP: one layer, or gate and up
    activation: Activation
    fall: JoinedLinear  # back to the hidden width
    heads: int
    key_heads: int
    scaling: float
    window: int | None
    head_norms: HeadNorms | None = None
    kept: Kept = "all"

    @property
    def joined(self) -> tuple[JoinedLinear, ...]:
        """All linear layers."""
        return (self.qkv, self.output, self.rise, self.fall)

    @property
    def scale(self) -> float:
        """The scale of its adapters, which is one for all; 0 where it has none."""
        return max(member.scale for joined in self.joined for member in joined.members)

    def rescale(self, scale: float) -> None:
        """Scale every adapter by ``scale`` from the next ``refresh`` on."""
        for joined in self.joined:
            joined.rescale(scale)

    def refresh(self) -> None:
        """Take over the adapters as they are now; call after every optimizer step."""
        for joined in self.joined:
            joined.refresh()


@dataclass(frozen=True)
class Rotation:
    """Cosine and sine of every token's position, ``(rows, head / 2)`` each."""

    cosine: Tensor
    sine: Tensor


@dataclass
class _Attended:
    """What the attention half of a layer leaves."""

    qkv: Tensor  # after rotation; where heads are normed before it, before both
    qkv_down: Tensor  # projections onto the adapters' ranks
    attended: Tensor  # input buffer of the output projection
    normalizers: Tensor
    states: Tensor  # the residual stream after attention


@dataclass
class _Raised:
    """What the first part of the MLP leaves."""

    raised: Tensor  # the activation's input
    rise_down: Tensor


def _attend(parts: LayerParts, x: Tensor, rotation: Rotation, documents: Documents) -> _Attended:
    normed = parts.qkv.input_buffer(x)
    norm_forward(parts.attention_norm, x, normed, parts.qkv.tail)
    qkv_down = parts.qkv.project_down(normed).clone()
    qkv = parts.qkv.forward(normed)
    seen = _turned(parts, qkv, rotation, again=False)
    attended = parts.output.input_buffer(x)
    normalizers = attention_forward(
        seen, attended[:, : parts.output.inputs], documents, parts.heads, parts.key_heads, parts.scaling, parts.window
    )
    write_tail(attended, parts.output.tail)
    parts.output.project_down(attended)
    states = parts.output.forward(attended, onto=x.clone())
    return _Attended(qkv, qkv_down, attended, normalizers, states)


def _turned(parts: LayerParts, qkv: Tensor, rotation: Rotation, *, again: bool) -> Tensor:
    """What attention sees of the projections ``qkv``, which are rotated in place unless heads are normed first."""
    if parts.head_norms is not None:
        return norm_and_rotate(parts.head_norms, qkv, rotation.cosine, rotation.sine, parts.heads, parts.key_heads)
    if not again:
        rotate(qkv, rotation.cosine, rotation.sine, parts.heads + parts.key_heads)
    return qkv


def _turned_backward(parts: LayerParts, qkv: Tensor, rotation: Rotation, grad: Tensor) -> None:
    """``grad``, of what attention saw, becomes the gradient of the projections."""
    heads, key_heads = parts.heads, parts.key_heads
    if parts.head_norms is None:
        rotate(grad, rotation.cosine, rotation.sine, heads + key_heads, back=True)
        return
    norm_and_rotate_backward(parts.head_norms, qkv, grad, rotation.cosine, rotation.sine, heads, key_heads)


def _raise(parts: LayerParts, states: Tensor) -> _Raised:
    normed = parts.rise.input_buffer(states)
    norm_forward(parts.mlp_norm, states, normed, parts.rise.tail)
    rise_down = parts.rise.project_down(normed).clone()
    return _Raised(parts.rise.forward(normed), rise_down)


def _fall(parts: LayerParts, raised: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's output, and the projections of the activation."""
    active = parts.fall.input_buffer(states)
    activation_forward(parts.activation, raised, active, parts.fall.tail)
    fall_down = parts.fall.project_down(active).clone()
    return parts.fall.forward(active, onto=states.clone()), fall_down


class FusedLayer(torch.autograd.Function):
    """The layer as one differentiable operation on the residual stream ``(rows, hidden)``.

    Gradients of the adapters are added to their ``grad`` directly.  ``_anchor`` is any trainable parameter: it
    makes autograd call ``backward`` for the first layer too, whose input needs no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, _anchor: Tensor, parts: LayerParts, rotation: Rotation, documents: Documents
    ) -> Tensor:
        attended = _attend(parts, x, rotation, documents)
        raised = _raise(parts, attended.states)
        out, fall_down = _fall(parts, raised.raised, attended.states)
        if not any(ctx.needs_input_grad):
            return out
        ctx.parts, ctx.rotation, ctx.documents, ctx.fall_down = parts, rotation, documents, fall_down
        ctx.save_for_backward(x)
        ctx.attended = None if parts.kept == "input" else attended
        ctx.raised = raised if parts.kept == "all" else None
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        parts: LayerParts = ctx.parts
        (x,) = ctx.saved_tensors
        attended = ctx.attended or _attend(parts, x, ctx.rotation, ctx.documents)
        raised = ctx.raised or _raise(parts, attended.states)
        ctx.attended = ctx.raised = None
        grad = _mlp_backward(parts, grads[0], attended.states, raised, ctx.fall_down)
        del raised
        result = _attention_backward(
            parts, grad, x, attended, ctx.rotation, ctx.documents, wanted=ctx.needs_input_grad[0]
        )
        return result, None, None, None, None


def _mlp_backward(parts: LayerParts, grad: Tensor, states: Tensor, raised: _Raised, fall_down: Tensor) -> Tensor:
    """The gradient of the residual stream after attention, as a gradient buffer of the output projection."""
    out_grad = parts.fall.grad_buffer(states)
    out_grad[:, : parts.fall.outputs].copy_(grad)
    active = parts.fall.backward(out_grad)  # the activation's gradient, then the activation
    rise_grad = parts.rise.grad_buffer(states)
    activation_backward(parts.activation, raised.raised, active, rise_grad[:, : parts.rise.outputs])
    parts.fall.accumulate(active, fall_down, out_grad)
    normed = parts.rise.backward(rise_grad)  # the norm's gradient, then the norm
    stream = parts.output.grad_buffer(states)
    norm_backward(parts.mlp_norm, states, normed, grad, stream[:, : parts.output.outputs])
    parts.rise.accumulate(normed, raised.rise_down, rise_grad)
    return stream


def _attention_backward(
    parts: LayerParts,
    stream: Tensor,
    x: Tensor,
    attended: _Attended,
    rotation: Rotation,
    documents: Documents,
    *,
    wanted: bool,
) -> Tensor | None:
    """The gradient of the layer's input, when it is ``wanted``."""
    output, qkv = parts.output, parts.qkv
    attended_grad = output.backward(stream)
    output.accumulate(attended.attended, attended.attended[:, output.inputs : output.inputs + output.ranks], stream)
    qkv_grad = qkv.grad_buffer(x)
    attention_backward(
        _turned(parts, attended.qkv, rotation, again=True),
        attended.attended[:, : output.inputs],
        attended.normalizers,
        attended_grad,
        qkv_grad[:, : qkv.outputs],
        documents,
        parts.heads,
        parts.key_heads,
        parts.scaling,
        parts.window,
    )
    _turned_backward(parts, attended.qkv, rotation, qkv_grad[:, : qkv.outputs])
    normed = qkv.backward(qkv_grad)  # the norm's gradient, then the norm
    result = torch.empty_like(x)
    norm_backward(parts.attention_norm, x, normed, stream[:, : output.outputs], result)
    qkv.accumulate(normed, attended.qkv_down, qkv_grad)
    return result if wanted else None

"""What happens between the matrix products, against autograd; ``test_fused_kernels`` runs it with the kernels."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from runner.model.fused import elementwise
from runner.model.fused.elementwise import Activation, HeadNorms, Norm

ROWS, WIDTH = 5, 48
PADDED = WIDTH + 16


def norm(kind: Literal["layer", "rms"]) -> Norm:
    weight, bias = torch.randn(WIDTH), torch.randn(WIDTH)
    return Norm(kind, weight, bias if kind == "layer" else None, 1e-5)


def applied(norm: Norm, x: Tensor) -> Tensor:
    if norm.kind == "layer":
        return F.layer_norm(x, (WIDTH,), norm.weight, norm.bias, norm.eps)
    return F.rms_norm(x, (WIDTH,), norm.weight, norm.eps)


def strided(values: Tensor) -> Tensor:
    """``values`` as the first columns of a wider buffer."""
    wide = torch.full((len(values), values.shape[1] + 16), torch.nan)
    wide[:, : values.shape[1]] = values
    return wide[:, : values.shape[1]]


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_a_norm_forwards_and_backwards(kind: Literal["layer", "rms"]) -> None:
    torch.manual_seed(0)
    frozen, x = norm(kind), strided(torch.randn(ROWS, WIDTH))
    out = torch.full((ROWS, PADDED), torch.nan)
    elementwise.norm_forward(frozen, x, out, (WIDTH + 3, WIDTH + 8))
    source = x.clone().requires_grad_()
    expected = applied(frozen, source)
    torch.testing.assert_close(out[:, :WIDTH], expected.detach())
    assert out[:, WIDTH + 3 : WIDTH + 8].tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]] * ROWS
    assert out[:, WIDTH : WIDTH + 3].isnan().all()
    grad, residual = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)
    (wanted,) = torch.autograd.grad(expected, source, grad)
    result = strided(torch.empty(ROWS, WIDTH))
    elementwise.norm_backward(frozen, x, grad, residual, result)
    torch.testing.assert_close(result, residual + wanted)
    torch.testing.assert_close(grad, expected.detach())


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("gelu", lambda x: F.gelu(x, approximate="tanh")),
        ("swiglu", lambda x: F.silu(x[:, :WIDTH]) * x[:, WIDTH:]),
    ],
)
def test_an_activation_forwards_and_backwards(kind: Activation, function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x = strided(3.0 * torch.randn(ROWS, WIDTH if kind == "gelu" else 2 * WIDTH))
    x[0, :2] = torch.tensor([60.0, -60.0])  # where an exponential overflows
    out = torch.full((ROWS, PADDED), torch.nan)
    elementwise.activation_forward(kind, x, out, (WIDTH, WIDTH + 8))
    source = x.clone().requires_grad_()
    expected = function(source)
    torch.testing.assert_close(out[:, :WIDTH], expected.detach())
    assert out[:, WIDTH : WIDTH + 2].tolist() == [[1.0, 0.0]] * ROWS
    grad = torch.randn(ROWS, WIDTH)
    (wanted,) = torch.autograd.grad(expected, source, grad)
    result = strided(torch.empty_like(wanted))
    elementwise.activation_backward(kind, x, grad, result)
    torch.testing.assert_close(result, wanted)
    torch.testing.assert_close(grad, expected.detach())


def test_a_rotation_turns_the_first_heads_and_back() -> None:
    torch.manual_seed(0)
    heads, half = 3, 8
    x = torch.randn(ROWS, 4 * 2 * half)
    angles = torch.randn(ROWS, half)
    turned = x.clone()
    elementwise.rotate(turned, angles.cos(), angles.sin(), heads)
    numbers = (
        torch.view_as_complex(x[:, : heads * 2 * half].view(ROWS, heads, 2, half).transpose(2, 3).contiguous())
        * torch.polar(torch.ones_like(angles), angles)[:, None]
    )
    expected = torch.view_as_real(numbers).transpose(2, 3).flatten(1)
    torch.testing.assert_close(turned[:, : heads * 2 * half], expected)
    assert turned[:, heads * 2 * half :].equal(x[:, heads * 2 * half :])
    elementwise.rotate(turned, angles.cos(), angles.sin(), heads, back=True)
    torch.testing.assert_close(turned, x)


def test_heads_are_normed_and_rotated_and_back() -> None:
    torch.manual_seed(0)
    heads, key_heads, half = 4, 2, 8
    norms = HeadNorms(torch.randn(2 * half), torch.randn(2 * half), 1e-5)
    x = strided(torch.randn(ROWS, (heads + 2 * key_heads) * 2 * half))
    angles = torch.randn(ROWS, half)
    source = x.clone().requires_grad_()
    shaped = source.view(ROWS, heads + 2 * key_heads, 2 * half)
    normed = [
        F.rms_norm(part, (2 * half,), weight, norms.eps)
        for part, weight in ((shaped[:, :heads], norms.query), (shaped[:, heads : heads + key_heads], norms.key))
    ]
    first, second = torch.cat(normed, dim=1).chunk(2, dim=-1)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    expected = torch.cat([turned, shaped[:, heads + key_heads :]], dim=1).flatten(1)
    before = x.clone()
    result = elementwise.norm_and_rotate(norms, x, angles.cos(), angles.sin(), heads, key_heads)
    torch.testing.assert_close(result, expected.detach())
    assert x.equal(before)
    grad = torch.randn(ROWS, x.shape[1])
    (wanted,) = torch.autograd.grad(expected, source, grad)
    elementwise.norm_and_rotate_backward(norms, x, grad, angles.cos(), angles.sin(), heads, key_heads)
    torch.testing.assert_close(grad, wanted)


@pytest.mark.parametrize("vocabulary", [50, 5000])
def test_cross_entropy_gives_losses_and_leaves_their_gradient(vocabulary: int) -> None:
    torch.manual_seed(0)
    logits = (4.0 * torch.randn(ROWS, vocabulary)).requires_grad_()
    targets = torch.randint(vocabulary, (ROWS,))
    expected = F.cross_entropy(logits, targets, reduction="none")
    (wanted,) = torch.autograd.grad(expected.sum() * 0.25, logits)
    losses, work = torch.empty(ROWS), logits.detach().clone()
    elementwise.cross_entropy(work, targets, losses, None)
    torch.testing.assert_close(losses, expected.detach())
    assert work.equal(logits.detach())
    elementwise.cross_entropy(work, targets, losses, 0.25)
    torch.testing.assert_close(work, wanted)

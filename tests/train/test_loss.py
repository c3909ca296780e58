"""The fused loss against torch's own."""

import pytest
import torch

import runner.train.loss as fused
from runner.train.loss import linear_cross_entropy


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(50, 16, dtype=torch.float64, requires_grad=True)
    head = torch.randn(37, 16, dtype=torch.float64, requires_grad=True)
    return hidden, head, torch.randint(0, 37, (50,))


@pytest.mark.parametrize("chunk_rows", [7, 50, 1000])
def test_loss_and_gradients_equal_torch_cross_entropy(
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor], chunk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "CHUNK_BYTES", 4 * 37 * chunk_rows)
    hidden, head, targets = inputs
    expected = torch.nn.functional.cross_entropy(hidden @ head.t(), targets, reduction="sum") * 0.25
    wanted = torch.autograd.grad(expected, [hidden, head])
    total, losses = linear_cross_entropy(hidden, head, targets, scale=0.25)
    found = torch.autograd.grad(total, [hidden, head])
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses.sum().double() * 0.25, expected, rtol=1e-5, atol=0)
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


def test_the_bias_of_a_head_is_added_and_gets_its_gradient(
    inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "CHUNK_BYTES", 8 * 37 * 7)
    hidden, head, targets = inputs
    bias = torch.randn(37, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(hidden @ head.t() + bias, targets, reduction="sum") * 0.25
    total, _ = linear_cross_entropy(hidden, head, targets, scale=0.25, bias=bias)
    torch.testing.assert_close(total, expected)
    parts = [hidden, head, bias]
    wanted = torch.autograd.grad(expected, parts)
    torch.testing.assert_close(torch.autograd.grad(total, parts), wanted)
    alone, _ = linear_cross_entropy(hidden.detach(), head.detach(), targets, scale=0.25, bias=bias)
    torch.testing.assert_close(torch.autograd.grad(alone, bias)[0], wanted[2])


def test_a_frozen_head_gets_no_gradient(inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    hidden, head, targets = inputs
    frozen = head.detach()
    total, _ = linear_cross_entropy(hidden, frozen, targets, scale=1.0)
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert hidden.grad is not None
    assert frozen.grad is None


def test_no_rows_give_zero_loss() -> None:
    hidden = torch.zeros(0, 4, requires_grad=True)
    total, losses = linear_cross_entropy(hidden, torch.zeros(5, 4), torch.zeros(0, dtype=torch.int64), scale=1.0)
    assert total.item() == 0.0
    assert losses.shape == (0,)

"""The flat optimizer against torch's own, and what a gradient that is not finite may do: nothing."""

import copy

import torch
from torch import nn

from runner.config.job import Train
from runner.train.optimizer import FlatAdamW
from runner.train.weights import FlatWeights

TRAIN = Train(learning_rate=1e-2, weight_decay=0.1, clip=0.5)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))


def test_flat_steps_equal_torch_adamw_with_clipping() -> None:
    flat, plain = small_net(), small_net()
    optimizer = FlatAdamW(FlatWeights(flat), TRAIN)
    matrices = [p for p in plain.parameters() if p.ndim == 2]
    vectors = [p for p in plain.parameters() if p.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], lr=1e-2
    )
    for step in range(5):
        batch = torch.randn(11, 7, generator=torch.Generator().manual_seed(step))
        optimizer.weights.clear_gradient()
        loss = flat(batch).square().sum()
        loss.backward()
        optimizer.weights.collect_gradient()
        norm = optimizer.step(1e-2, loss.detach())
        reference.zero_grad()
        plain(batch).square().sum().backward()
        expected = nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        reference.step()
        torch.testing.assert_close(norm, expected)
    for ours, theirs in zip(flat.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    net = small_net()
    optimizer = FlatAdamW(FlatWeights(net), TRAIN)
    optimizer.weights.gradient.fill_(0.1)
    optimizer.step(1e-2, torch.tensor(1.0))
    before = copy.deepcopy([optimizer.weights.master, optimizer.first, optimizer.second])
    optimizer.weights.gradient.fill_(0.1)
    optimizer.weights.gradient[3] = float("nan")
    optimizer.step(1e-2, torch.tensor(1.0))
    optimizer.weights.gradient.fill_(0.1)
    optimizer.step(1e-2, torch.tensor(float("inf")))
    assert optimizer.steps_taken == 1
    for tensor, kept in zip([optimizer.weights.master, optimizer.first, optimizer.second], before, strict=True):
        assert torch.equal(tensor, kept)


def test_sixteen_bit_parameters_keep_float32_masters() -> None:
    net = small_net().to(torch.bfloat16)
    weights = FlatWeights(net)
    weights.master.add_(1e-5)
    weights.publish()
    assert weights.master.dtype == torch.float32
    for (name, master), parameter in zip(weights.named(), (p for p in net.parameters() if p.ndim == 2), strict=False):
        assert torch.equal(master.to(torch.bfloat16), parameter), name

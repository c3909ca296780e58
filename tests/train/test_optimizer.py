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


def test_started_again_it_is_as_new_with_the_settings_given() -> None:
    old, new = small_net().to(torch.bfloat16), small_net().to(torch.bfloat16)
    used = FlatAdamW(FlatWeights(old), TRAIN.model_copy(update={"weight_decay": 0.9, "clip": None}))
    fresh = FlatAdamW(FlatWeights(new), TRAIN)
    start = used.weights.master.clone()
    used.weights.gradient.fill_(0.1)
    used.step(1e-2, torch.tensor(1.0))
    for parameter in old.parameters():
        assert parameter.grad is not None
        parameter.grad.fill_(float("nan"))  # of a backward pass that an error ended
    used.weights.master.copy_(start)
    used.start_again(TRAIN)
    for optimizer in (used, fresh):
        optimizer.weights.clear_gradient()
        optimizer.weights.collect_gradient()
        optimizer.weights.gradient.add_(0.1)
        optimizer.step(1e-2, torch.tensor(1.0))
    assert all(torch.equal(*pair) for pair in zip(used.changing(), fresh.changing(), strict=True))
    assert used.steps_taken == 1


def test_what_changes_put_back_is_as_if_the_step_had_not_been() -> None:
    once, twice = (FlatAdamW(FlatWeights(small_net()), TRAIN) for _ in range(2))
    kept = [tensor.clone() for tensor in twice.changing()]
    for optimizer in (twice, once):
        optimizer.weights.gradient.fill_(0.1)
        optimizer.step(1e-2, torch.tensor(1.0))
    for live, tensor in zip(twice.changing(), kept, strict=True):
        live.copy_(tensor)
    twice.weights.gradient.fill_(0.1)
    twice.step(1e-2, torch.tensor(1.0))
    assert all(torch.equal(*pair) for pair in zip(once.changing(), twice.changing(), strict=True))

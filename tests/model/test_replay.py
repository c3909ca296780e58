"""A recorded pass gives what the pass itself gives, for other documents and after the adapters were rescaled."""

import pytest
import torch
from torch import Tensor, nn

from conftest import pack_of, tiny_starcoder2
from runner.config.job import Lora, Train
from runner.model.adapter import add_adapter
from runner.model.fused import fuse_layers, fused_layers, replay
from runner.train.batches import MicroBatch, StepBatch, learned_tokens, micro_batch
from runner.train.optimizer import FlatAdamW
from runner.train.step import batch_losses, train_step
from runner.train.weights import FlatWeights
from runner.train.world import World

CAPACITY = 64
LENGTHS = ((17, 5, 23, 9), (64,), (30, 30), (8,) * 8, (1, 2, 40), (60,))
RESCALED_AT = 5


def written_out(*, replayed: bool) -> tuple[nn.Module, FlatWeights]:
    base = tiny_starcoder2(head_dim=16, hidden_size=64).to("cuda", torch.bfloat16)
    model = add_adapter(base, Lora(rank=4), dtype=torch.bfloat16, seed=1).train()
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    fuse_layers(model, kept=["all", "attention"], replayed=replayed)
    return model, FlatWeights(model)


def passes(*, replayed: bool) -> list[tuple[float, Tensor]]:
    """Loss and flat gradient of each of ten passes; the adapters are rescaled before one of them."""
    model, weights = written_out(replayed=replayed)
    results = []
    for index in range(10):
        if index == RESCALED_AT:
            for layer in fused_layers(model):
                layer.rescale(3.0)
            weights.publish()
        lengths = LENGTHS[index % len(LENGTHS)]
        loss = one_pass(model, micro_batch([pack_of(lengths, capacity=CAPACITY, seed=index)], 0, torch.device("cuda")))
        weights.collect_gradient()
        results.append((loss, weights.gradient.clone()))
        weights.clear_gradient()
    return results


def one_pass(model: nn.Module, batch: MicroBatch) -> float:
    loss, _ = batch_losses(model, batch, scale=1 / 50)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return float(loss.detach())


@pytest.mark.gpu
def test_replayed_passes_give_the_losses_and_gradients_of_the_passes_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = []
    init = replay._Recorded.__init__

    def counted(*arguments: object) -> None:
        recorded.append(arguments)
        init(*arguments)  # type: ignore[arg-type]  # handed on as they come

    monkeypatch.setattr(replay._Recorded, "__init__", counted)
    for (loss, gradient), (expected_loss, expected) in zip(passes(replayed=True), passes(replayed=False), strict=True):
        assert loss == pytest.approx(expected_loss, rel=1e-3)
        assert float((gradient - expected).norm() / expected.norm()) < 1e-2
    assert len(recorded) == 2, "once, and again for the other scale"


def first_steps(*, replayed: bool) -> list[Tensor]:
    """The flat gradient of each of two steps of four passes: in the first the third pass is the one recorded."""
    model, weights = written_out(replayed=replayed)
    optimizer, world = FlatAdamW(weights, Train()), World()
    packs = [pack_of(lengths, capacity=CAPACITY, seed=7) for lengths in LENGTHS[:4]]
    gradients = []
    for step in (1, 2):
        batches = (micro_batch([pack], index, torch.device("cuda")) for index, pack in enumerate(packs))
        batch = StepBatch(step, batches, sum(map(learned_tokens, packs)), tuple(range(len(packs))))
        train_step(model, optimizer, batch, world, rate=0.0, seed=1, stop=False)
        gradients.append(weights.gradient.clone())
    return gradients


@pytest.mark.gpu
def test_a_pass_in_the_middle_of_a_step_can_be_recorded() -> None:
    for gradient, expected in zip(first_steps(replayed=True), first_steps(replayed=False), strict=True):
        assert float((gradient - expected).norm() / expected.norm()) < 1e-2


@pytest.mark.gpu
def test_a_pass_without_a_gradient_is_not_recorded() -> None:
    model, _ = written_out(replayed=True)
    batch = micro_batch([pack_of(LENGTHS[0], capacity=CAPACITY)], 0, torch.device("cuda"))
    losses = [one_pass(model, batch) for _ in range(4)]
    with torch.no_grad():
        quiet, _ = batch_losses(model, batch, scale=1 / 50)
    assert float(quiet) == pytest.approx(losses[-1], rel=1e-3)


@pytest.mark.gpu
def test_passes_go_on_unrecorded_where_a_recording_finds_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward_alone(*_: object) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            torch.empty(2**50, dtype=torch.uint8, device="cuda")

    expected = passes(replayed=False)
    monkeypatch.setattr(replay._Recorded, "__init__", forward_alone)
    with pytest.warns(UserWarning, match="unrecorded"):
        results = passes(replayed=True)
    for (loss, gradient), (expected_loss, expected_gradient) in zip(results, expected, strict=True):
        assert loss == pytest.approx(expected_loss, rel=1e-3)
        assert float((gradient - expected_gradient).norm() / expected_gradient.norm()) < 1e-2

"""One of two ranks: DeepSpeed's steps on a tiny adapted model beside those of ``FlatAdamW`` on its copy."""

import copy
import sys
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from conftest import pack_of, tiny_starcoder2
from runner.config.job import Job, Lora
from runner.model.adapter import add_adapter
from runner.train.batches import MicroBatch, StepBatch, micro_batch
from runner.train.optimizer import FlatAdamW
from runner.train.step import token_losses, train_step
from runner.train.strategies import Strategy, TrainingState, start_zero
from runner.train.weights import FlatWeights
from runner.train.world import World

RATE = 1e-2
CPU = torch.device("cpu")


def main(strategy: str, dtype: torch.dtype, world: World) -> None:
    base = tiny_starcoder2().to(dtype).requires_grad_(requires_grad=False)
    model = add_adapter(base, Lora(rank=3, dropout=0.0), dtype=dtype, seed=0)
    job = Job.model_validate(
        {
            "model": {"quantization": "none"},
            "data": {"max_length": 32},
            "train": {"tokens_per_step": 128, "weight_decay": 0.1, "clip": 0.5, "strategy": strategy},
        }
    )
    plain = copy.deepcopy(model)
    reference = FlatAdamW(FlatWeights(plain), job.train)
    engine, sharded = start_zero(job, model, world, rows=1, losses=token_losses)
    assert sharded.count == reference.count
    close = 1e-4 if dtype == torch.float32 else 0.05
    for step in range(1, 5):
        expected = trained(plain, reference, step, world)
        found = trained(engine, sharded, step, world)
        torch.testing.assert_close(found, expected, atol=close, rtol=close)
    same(sharded.whole_state(), reference.whole_state(), world, dtype)
    nothing_moves(engine, sharded, world)
    adopted = reference.whole_state()
    sharded.adopt(adopted)
    exactly(sharded.whole_state(), adopted, world)
    found, expected = trained(engine, sharded, 6, world), trained(plain, reference, 6, world)
    torch.testing.assert_close(found, expected, atol=close, rtol=close)


def trained(model: nn.Module, strategy: Strategy, step: int, world: World) -> Tensor:
    batch = StepBatch(step, buffers(step, world), learned=60, packs=())
    return train_step(model, strategy, batch, world, rate=RATE, seed=0, stop=False)


def buffers(step: int, world: World) -> Iterator[MicroBatch]:
    """Two of the four buffers of the step."""
    for index in range(world.rank, 4, world.size):
        yield micro_batch([pack_of([12, 16], capacity=32, seed=10 * step + index)], index, CPU)


def nothing_moves(engine: nn.Module, sharded: Strategy, world: World) -> None:
    """Not by a gradient that is not finite on one rank alone, nor by a loss that is not."""
    before = sharded.whole_state()
    for grade, told in ((float("nan") if world.rank else 1.0, 1.0), (1.0, float("inf"))):
        sharded.begin_step()
        for batch in buffers(5, world):
            loss, _ = token_losses(engine, batch, scale=0.1)
            sharded.backward(loss * grade)
        sharded.reduce(world)
        norm = sharded.step(RATE, torch.tensor(told))
        assert bool(torch.isfinite(norm)) == (told == float("inf"))
        exactly(sharded.whole_state(), before, world)
    assert sharded.whole_state().steps_taken == 4


def exactly(found: TrainingState, expected: TrainingState, world: World) -> None:
    assert found.steps_taken == expected.steps_taken
    for name in expected.weights if world.leads else ():
        assert torch.equal(found.weights[name], expected.weights[name]), name
        assert torch.equal(found.first[name], expected.first[name]), name
        assert torch.equal(found.second[name], expected.second[name]), name


def same(found: TrainingState, expected: TrainingState, world: World, dtype: torch.dtype) -> None:
    assert found.steps_taken == expected.steps_taken
    if not world.leads:
        assert not found.weights
        return
    assert found.weights.keys() == expected.weights.keys()
    moved = 0.0
    for name, tensor in expected.weights.items():
        assert found.weights[name].dtype == torch.float32
        atol = 1e-5 if dtype == torch.float32 else 4 * RATE
        torch.testing.assert_close(found.weights[name], tensor, atol=atol, rtol=1e-4)
        moved += float((tensor - tensor.to(torch.bfloat16)).abs().sum())
    assert moved > 0.0  # masters hold what 16 bits cannot


if __name__ == "__main__":
    port, rank = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for strategy in ("zero2", "zero3"):
        for dtype in (torch.float32, torch.bfloat16):
            main(strategy, dtype, World(rank, 2, CPU))
    dist.destroy_process_group()

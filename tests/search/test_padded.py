"""Adapters of a small rank inside those of a large one: the same start, the same training, nothing beyond the rank."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from conftest import pack_of, tiny_starcoder2
from runner.config.job import Lora, Train
from runner.model.adapter import add_adapter, causal_lm
from runner.model.fused import fuse_layers
from runner.search.padded import PaddedAdapters
from runner.train.batches import StepBatch, learned_tokens, micro_batch
from runner.train.optimizer import FlatAdamW
from runner.train.step import losses_of, train_step
from runner.train.weights import FlatWeights
from runner.train.world import World

STEPS = 20
LARGEST = Lora(rank=32)
SMALL = Lora(rank=8, alpha=20.0)
TRAIN = Train(learning_rate=1e-2, weight_decay=0.1)
LENGTHS = (17, 5, 23, 9)
CPU = torch.device("cpu")
Form = Literal["transformers", "fused", "compiled"]


class Adapted:
    """A tiny model with its adapter and optimizer; ``largest`` None makes the adapter at its own rank."""

    def __init__(self, lora: Lora, *, largest: Lora | None, dtype: torch.dtype, form: Form = "transformers") -> None:
        base = tiny_starcoder2().to(dtype).requires_grad_(requires_grad=False)
        self.model = add_adapter(base, largest or lora, dtype=dtype, seed=5).train()
        if form == "fused":
            fuse_layers(self.model, kept=["all", "input"])
        if form == "compiled":
            for layer in causal_lm(self.model).get_decoder().layers:
                layer.compile(dynamic=False, backend="eager")
        weights = FlatWeights(self.model)
        self.optimizer = FlatAdamW(weights, TRAIN)
        self.padded = PaddedAdapters(self.model, weights)
        if largest is not None:
            self.padded.start(lora, seed=5)

    def named(self) -> dict[str, Tensor]:
        return self.padded.cut(self.optimizer.weights.master)

    def train(self, steps: int = STEPS) -> list[float]:
        records = []
        for step in range(1, steps + 1):
            pack = pack_of(LENGTHS, capacity=64, seed=step % 4)
            batch = StepBatch(step, iter([micro_batch([pack], 0, CPU)]), learned_tokens(pack), (0,))
            world = World(device=CPU)
            records.append(train_step(self.model, self.optimizer, batch, world, rate=1e-2, seed=1, stop=False))
        return [losses_of(record.tolist()).loss for record in records]


def beyond(adapted: Adapted) -> Tensor:
    """Everything in the buffer that is not of the true rank: rows of A, columns of B."""
    weights, rank = adapted.optimizer.weights, adapted.padded.rank
    parts = [
        part
        for flat in (weights.master, weights.gradient, adapted.optimizer.first, adapted.optimizer.second)
        for name, view in weights.named(flat)
        for part in [view[rank:] if "lora_A" in name else view[:, rank:]]
    ]
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("form", ["transformers", "fused"])
def test_a_padded_rank_trains_as_the_true_rank_does(form: Form) -> None:
    true = Adapted(SMALL, largest=None, dtype=torch.float64, form=form)
    padded = Adapted(SMALL, largest=LARGEST, dtype=torch.float64, form=form)
    expected, found = true.train(), padded.train()
    assert expected[-1] < expected[3] - 0.1  # it learns, and the last step sees the buffer of the fourth
    assert found == pytest.approx(expected, abs=1e-9)
    for name, weight in true.named().items():
        torch.testing.assert_close(padded.named()[name], weight, rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", ["transformers", "fused"])
def test_what_is_beyond_the_rank_stays_exactly_zero_under_weight_decay(form: Form) -> None:
    padded = Adapted(SMALL, largest=LARGEST, dtype=torch.float32, form=form)
    padded.train()
    unused = beyond(padded)
    assert unused.numel() == 4 * 2 * (24 / 8) * sum(w.numel() for n, w in padded.named().items() if "layers.0." in n)
    assert not unused.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rank", [1, 3, 32])
def test_the_start_is_that_of_a_fresh_adapter_number_for_number(rank: int, dtype: torch.dtype) -> None:
    lora = Lora(rank=rank)
    true = Adapted(lora, largest=None, dtype=dtype).named()
    padded = Adapted(lora, largest=LARGEST, dtype=dtype)
    padded.padded.start(lora, seed=6)
    assert not all(torch.equal(weight, true[name]) for name, weight in padded.named().items())
    padded.padded.start(lora, seed=5)
    assert padded.named().keys() == true.keys()
    assert all(torch.equal(weight, true[name]) for name, weight in padded.named().items())
    assert [parameter.detach().any() for parameter in trainable(padded.model)] == [True, False] * 12


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def test_the_saved_adapter_has_its_true_rank_and_is_loaded_by_plain_peft(tmp_path: Path) -> None:
    from peft import PeftModel

    padded = Adapted(SMALL, largest=LARGEST, dtype=torch.float32)
    padded.train(3)
    padded.padded.save(padded.optimizer.weights.master, tmp_path / "adapter", base_id="base")
    loaded: Any = PeftModel.from_pretrained(tiny_starcoder2(), tmp_path / "adapter")
    assert (loaded.peft_config["default"].r, loaded.peft_config["default"].lora_alpha) == (8, 20.0)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(loaded(input_ids=ids).logits, padded.model.eval()(input_ids=ids).logits)


def test_compiled_layers_are_not_compiled_again_for_another_rank_and_scale() -> None:
    import torch._dynamo

    torch._dynamo.reset()
    compiled = Adapted(LARGEST, largest=LARGEST, dtype=torch.float32, form="compiled")
    compiled.train(2)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled.padded.start(SMALL, seed=5)
        compiled.optimizer.start_again(TRAIN)
        found = compiled.train(4)
    expected = Adapted(SMALL, largest=None, dtype=torch.float32).train(4)
    assert found == pytest.approx(expected, abs=1e-5)

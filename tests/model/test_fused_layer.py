"""The written-out layer against transformers and PEFT: losses, every adapter gradient, every form of keeping."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import pack_of, tiny_llama, tiny_mistral, tiny_qwen2, tiny_qwen3, tiny_starcoder2
from runner.config.job import Lora
from runner.model.adapter import add_adapter, causal_lm
from runner.model.fused import Kept, fuse_layers, fused_layers, transformers_layers, why_not_fused
from runner.model.nf4 import round_to_nf4
from runner.train.batches import MicroBatch, micro_batch
from runner.train.step import batch_losses

LENGTHS = (11, 5)  # longer than a window, and shorter; in Triton's interpreter every row costs
CAPACITY = 18
MAKERS = [tiny_starcoder2, tiny_llama, tiny_mistral, tiny_qwen2, tiny_qwen3]


def adapted(make: Callable[[], nn.Module], **lora: Any) -> nn.Module:
    """A model with an adapter whose B is not zero, so that A has a gradient too."""
    model = add_adapter(make(), Lora(**{"rank": 4, **lora}), dtype=torch.float32, seed=1)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    for parameter in model.parameters():
        if parameter.ndim == 1 and not parameter.requires_grad:  # biases, and weights of norms
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.train()


def loss_and_gradients(model: nn.Module, batch: MicroBatch) -> tuple[float, dict[str, Tensor]]:
    loss, _ = batch_losses(model, batch, scale=1 / 50)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return float(loss.detach()), gradients


def assert_equal_to_transformers(make: Callable[[], nn.Module], kept: Kept, **lora: Any) -> None:
    packs = [pack_of(LENGTHS, capacity=CAPACITY, seed=seed) for seed in (1, 2)]
    batch = micro_batch(packs, 0, torch.device("cpu"))
    model = adapted(make, **lora)
    loss, gradients = loss_and_gradients(model, batch)
    layers = causal_lm(model).config.num_hidden_layers
    assert why_not_fused(model) is None
    fuse_layers(model, kept=[kept] * layers)
    fused_loss, fused_gradients = loss_and_gradients(model, batch)
    assert fused_loss == pytest.approx(loss, rel=1e-6)
    assert set(fused_gradients) == set(gradients)
    for name, gradient in gradients.items():
        error = float((fused_gradients[name] - gradient).norm() / gradient.norm())
        assert error < 2e-5, f"{name}: {error:.1e}"


@pytest.mark.parametrize("kept", ["all", "attention", "input"])
@pytest.mark.parametrize("make", MAKERS)
def test_loss_and_every_gradient_equal_those_of_transformers_and_peft(
    make: Callable[[], nn.Module], kept: Kept
) -> None:
    assert_equal_to_transformers(make, kept)


def test_layers_without_an_adapter_and_a_rank_that_fills_no_row_are_joined_too() -> None:
    assert_equal_to_transformers(tiny_starcoder2, "all", targets=("q_proj", "v_proj", "c_proj"), rank=3)


def test_a_window_shorter_than_a_document_is_kept() -> None:
    assert_equal_to_transformers(lambda: tiny_starcoder2(sliding_window=8), "all")


def test_within_transformers_layers_the_model_is_transformers_own_again() -> None:
    model = adapted(tiny_starcoder2)
    ids = torch.randint(5, 128, (2, 9))
    with torch.no_grad():
        expected = causal_lm(model)(input_ids=ids).logits
        fuse_layers(model, kept=["all"] * 2)
        with transformers_layers(model):
            assert not fused_layers(model)
            torch.testing.assert_close(causal_lm(model)(input_ids=ids).logits, expected, atol=1e-5, rtol=0)
    assert len(fused_layers(model)) == 2


@pytest.mark.parametrize(
    ("make", "lora", "reason"),
    [
        (lambda: tiny_starcoder2(residual_dropout=0.1), {}, "residual_dropout is not 0"),
        (lambda: tiny_starcoder2(hidden_act="relu"), {}, "its activation is relu"),
        (tiny_starcoder2, {"dropout": 0.1}, "lora.dropout is not 0"),
    ],
)
def test_a_model_that_computes_something_else_is_left_alone(
    make: Callable[[], nn.Module], lora: dict[str, Any], reason: str
) -> None:
    assert why_not_fused(adapted(make, **lora)) == reason


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("kept", ["all", "input"])
def test_weights_in_four_bits_give_what_their_dequantized_ones_give(
    make: Callable[[], nn.Module], kept: Kept, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    make().save_pretrained(tmp_path)  # type: ignore[operator]  # transformers' own method
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    options = {"dtype": torch.float32, "device_map": {"": "cpu"}, "attn_implementation": "sdpa"}

    def rounded() -> nn.Module:
        model: nn.Module = AutoModelForCausalLM.from_pretrained(tmp_path, **options)
        round_to_nf4(model)
        return model.requires_grad_(requires_grad=False)

    def packed() -> nn.Module:
        model: nn.Module = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=nf4, **options)
        return model.requires_grad_(requires_grad=False)

    batch = micro_batch([pack_of(LENGTHS, capacity=CAPACITY)], 0, torch.device("cpu"))
    found = []
    for form in (rounded, packed):
        model = adapted(form)
        fuse_layers(model, kept=[kept] * 2)
        assert {joined.packed for parts in fused_layers(model) for joined in parts.joined} == {form is packed}
        found.append(loss_and_gradients(model, batch))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[1][1][name], gradient) for name, gradient in found[0][1].items())

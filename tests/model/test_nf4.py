"""Rounding to NF4 against bitsandbytes' own layer."""

from typing import Any

import bitsandbytes as bnb
import pytest
import torch

from conftest import tiny_starcoder2
from runner.model.nf4 import frozen_linears, nf4_rounded, round_to_nf4, unpack_into, unpacked


def test_rounded_weights_are_what_bitsandbytes_multiplies_with() -> None:
    torch.manual_seed(0)
    weight = torch.randn(48, 128)
    layer = bnb.nn.Linear4bit(
        128, 48, bias=False, compute_dtype=torch.float32, quant_type="nf4", compress_statistics=True
    )
    layer.weight = bnb.nn.Params4bit(weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer = layer.to("cpu")
    inputs = torch.randn(5, 128)
    torch.testing.assert_close(inputs @ nf4_rounded(weight).t(), layer(inputs), atol=1e-5, rtol=1e-5)


def test_at_most_sixteen_values_in_a_block() -> None:
    rounded = nf4_rounded(torch.randn(4, 64))
    for block in rounded:
        assert len(block.unique()) <= 16


def test_every_linear_layer_but_the_head_is_rounded() -> None:
    model = tiny_starcoder2()
    head = model.lm_head.weight.clone()  # type: ignore[union-attr,operator]  # transformers' own attribute
    names = [name for name, _ in frozen_linears(model)]
    assert len(names) == 2 * 6
    before = {name: linear.weight.clone() for name, linear in frozen_linears(model)}
    assert round_to_nf4(model) == sum(weight.numel() for weight in before.values())
    assert all(not torch.equal(linear.weight, before[name]) for name, linear in frozen_linears(model))
    assert torch.equal(model.lm_head.weight, head)  # type: ignore[union-attr,arg-type]  # as above


def check_unpacking(inputs: int, outputs: int, dtype: torch.dtype, device: str) -> None:
    """In place, a row of a wider matrix a row, the weights are to the bit what bitsandbytes unpacks."""
    torch.manual_seed(inputs)
    layer: Any = bnb.nn.Linear4bit(
        inputs, outputs, bias=False, compute_dtype=dtype, quant_type="nf4", compress_statistics=True
    )
    weight = (torch.randn(outputs, inputs) * torch.rand(outputs, 1).exp()).to(dtype)
    layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
    layer = layer.to(device)
    wide = torch.full((outputs + 2, inputs + 24), 7.0, dtype=dtype, device=device)
    unpack_into(layer, wide[1:-1, :inputs])
    assert torch.equal(wide[1:-1, :inputs], unpacked(layer))
    assert (wide[0] == 7).all()
    assert (wide[-1] == 7).all()
    assert (wide[:, inputs:] == 7).all()


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 48), (576, 40), (1536, 24)])
def test_weights_are_unpacked_in_place(inputs: int, outputs: int) -> None:
    check_unpacking(inputs, outputs, torch.float32, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize(("inputs", "outputs"), [(576, 1536), (3072, 12288), (18432, 512)])
def test_the_kernel_unpacks_the_bits_of_bitsandbytes(inputs: int, outputs: int) -> None:
    check_unpacking(inputs, outputs, torch.bfloat16, "cuda")

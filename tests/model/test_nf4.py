"""Rounding to NF4 against bitsandbytes' own layer."""

import bitsandbytes as bnb
import torch

from conftest import tiny_starcoder2
from runner.model.nf4 import frozen_linears, nf4_rounded, round_to_nf4


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

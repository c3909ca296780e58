"""Documents side by side in a buffer must not see each other."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from conftest import pack_of, tiny_llama, tiny_starcoder2
from runner.model.attention import PACKED, register_packed_attention
from runner.train.batches import micro_batch
from runner.train.step import hidden_states

LENGTHS = (17, 5, 23, 9)
CAPACITY = 64


def separate_states(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Each document through the model alone."""
    start, states = 0, []
    for length in (*LENGTHS, CAPACITY - sum(LENGTHS)):
        alone = model.get_decoder()(input_ids=ids[:, start : start + length], use_cache=False)  # type: ignore[operator]  # transformers' own method
        states.append(alone.last_hidden_state[0])
        start += length
    return torch.cat(states)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("make", [tiny_starcoder2, tiny_llama])
def test_packed_states_equal_separate_states_on_the_cpu(make: Callable[[], nn.Module], mode: str) -> None:
    model = make().train(mode == "train")
    batch = micro_batch([pack_of(LENGTHS, capacity=CAPACITY)], 0, torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(hidden_states(model, batch), separate_states(model, batch.ids), atol=2e-6, rtol=0)


def test_two_buffers_in_a_batch_do_not_see_each_other() -> None:
    model = tiny_starcoder2()
    packs = [pack_of(LENGTHS, capacity=CAPACITY, seed=seed) for seed in (1, 2)]
    cpu = torch.device("cpu")
    with torch.no_grad():
        together = hidden_states(model, micro_batch(packs, 0, cpu))
        apart = torch.cat([hidden_states(model, micro_batch([pack], 0, cpu)) for pack in packs])
    torch.testing.assert_close(together, apart, atol=2e-6, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 8])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_packed_states_equal_separate_states_with_the_variable_length_kernel(mode: str, window: int | None) -> None:
    device = torch.device("cuda")
    register_packed_attention()
    model = tiny_starcoder2(sliding_window=window, head_dim=16, hidden_size=64).to(device, torch.bfloat16)
    model.train(mode == "train")
    batch = micro_batch([pack_of(LENGTHS, capacity=CAPACITY)], 0, device)
    with torch.no_grad():
        separate = separate_states(model, batch.ids).float()
        model.config._attn_implementation = PACKED  # type: ignore[union-attr]  # a transformers configuration
        packed = hidden_states(model, batch).float()
    error = (packed - separate).norm() / separate.norm()
    assert error < 1e-2, f"relative error {error:.1e}"

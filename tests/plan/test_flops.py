"""FLOPs a token: against figures known of StarCoder2-3B, and against torch's own count of the products."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from conftest import starcoder2_3b, tiny_starcoder2
from runner.config.job import Job, Lora, Model
from runner.model.adapter import add_adapter
from runner.plan import read_geometry
from runner.plan.flops import ATTENTION_PASSES, flops_a_token, mean_attended, peak_tflops, read_windows

LENGTH = 48


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job of the published configuration, rank 16."""
    folder = tmp_path_factory.mktemp("3b")
    starcoder2_3b().save_pretrained(folder)
    return Job(model=Model(id=str(folder)), lora=Lora(rank=16))


@pytest.mark.parametrize(("length", "giga"), [(2048, 13.6), (4096, 14.9)])
def test_starcoder2_3b_takes_the_flops_a_token_that_are_known_of_it(published: Job, length: int, giga: float) -> None:
    geometry, windows = read_geometry(published), read_windows(published.model)
    assert windows == (4096,) * 30
    flops = flops_a_token(published, geometry, [length] * 2, windows)
    assert flops / 1e9 == pytest.approx(giga, rel=0.01)


@pytest.mark.parametrize("window", [None, 1, 5, 9, 40])
def test_the_mean_of_attended_tokens_is_that_of_the_masks_ones(window: int | None) -> None:
    documents = [9, 1, 17]
    seen = 0
    for length in documents:
        distance = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        seen += int(((distance >= 0) & (distance < (window or length))).sum())
    assert mean_attended(documents, window) == pytest.approx(seen / sum(documents))


def counted(model: Any) -> int:
    """FLOPs of all matrix products of a forward and backward pass over one document, as torch counts them."""
    ids = torch.arange(LENGTH)[None]
    counter = FlopCounterMode(display=False)
    with counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    operators = counter.get_flop_counts()["Global"]
    return sum(flops for operator, flops in operators.items() if "mm" in str(operator))


@pytest.fixture
def tiny(tmp_path: Path) -> Model:
    base: Any = tiny_starcoder2()
    base.save_pretrained(tmp_path)
    return Model(id=str(tmp_path), quantization="none")


def without_attention(job: Job) -> float:
    geometry, windows = read_geometry(job), read_windows(job.model)
    attention = ATTENTION_PASSES * 4 * geometry.heads_width * len(windows) * (LENGTH + 1) / 2
    return LENGTH * (flops_a_token(job, geometry, [LENGTH], windows) - attention)


def test_training_every_weight_takes_the_products_that_torch_counts(tiny: Model) -> None:
    assert without_attention(Job(model=tiny, lora=None)) == counted(tiny_starcoder2())


def test_training_an_adapter_takes_them_too_but_for_the_embeddings_gradient(tiny: Model) -> None:
    job = Job(model=tiny, lora=Lora(rank=8))
    assert job.lora is not None
    base: Any = tiny_starcoder2()
    attention = base.get_decoder().layers[0].self_attn
    model = add_adapter(base.requires_grad_(requires_grad=False), job.lora, dtype=torch.float32, seed=0)
    first = [attention.q_proj, attention.k_proj, attention.v_proj]  # nothing below them learns
    saved = sum(2 * LENGTH * (layer.base_layer.weight.numel() + 8 * layer.in_features) for layer in first)
    assert without_attention(job) == counted(model) + saved


def test_layers_have_the_windows_that_the_configuration_gives_each(tmp_path: Path) -> None:
    from transformers import Gemma2Config, LlamaConfig

    Gemma2Config(num_hidden_layers=4, sliding_window=512).save_pretrained(tmp_path)
    assert read_windows(Model(id=str(tmp_path))) == (512, None, 512, None)
    LlamaConfig(num_hidden_layers=2).save_pretrained(tmp_path)
    assert read_windows(Model(id=str(tmp_path))) == (None, None)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A100 80GB PCIe", 312.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA GeForce RTX 4090", 165.0),
        ("NVIDIA GeForce RTX 3090", 71.0),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA RTX A1000", None),
        ("the CPU (2 cores)", None),
    ],
)
def test_a_peak_is_told_of_known_cards_only(name: str, peak: float | None) -> None:
    assert peak_tflops(name) == peak

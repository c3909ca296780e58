"""The adapter: its layers, its size, its files."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from conftest import starcoder2_3b, tiny_starcoder2
from runner.config.job import Lora
from runner.config.load import load_job
from runner.errors import UserError
from runner.model.adapter import add_adapter, resolve_targets, save_adapter
from runner.model.base import load_base
from runner.train.weights import FlatWeights


def test_starcoder2_3b_has_23_8_million_trainable_weights_at_rank_16() -> None:
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(starcoder2_3b()).requires_grad_(False)
        model = add_adapter(base, Lora(rank=16), dtype=torch.bfloat16, seed=0)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # per layer: q and o (3072+3072), k and v (3072+256), c_fc and c_proj (3072+12288), each x 16
    assert trainable == 30 * 16 * (2 * 6144 + 2 * 3328 + 2 * 15360) == 23_838_720


def test_the_demo_has_174_080_trainable_weights() -> None:
    job = load_job(None)
    assert job.lora is not None
    base = load_base(job.model, torch.device("cpu"), residency="dequantized", seed=job.train.seed)
    model = add_adapter(base, job.lora, dtype=torch.float32, seed=job.train.seed)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # per layer: q and o (128+128), k and v (128+64), c_fc and c_proj (128+512), each x 16
    assert trainable == 5 * 16 * (2 * 256 + 2 * 192 + 2 * 640) == 174_080


def test_all_linear_names_the_six_layers_of_starcoder2() -> None:
    assert resolve_targets(tiny_starcoder2(), Lora()) == ("c_fc", "c_proj", "k_proj", "o_proj", "q_proj", "v_proj")


def test_a_target_that_is_no_layer_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"names c_projj.*c_fc, c_proj, k_proj.*did you mean c_proj\?"):
        resolve_targets(tiny_starcoder2(), Lora(targets=("q_proj", "c_projj")))


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (
            ("gate_proj",),
            "names gate_proj, which is no linear layer of .*; its layers are c_fc, c_proj,.*; choose among",
        ),
        (("q_proj", "gate_proj", "up_proj", "down_proj"), "names gate_proj, up_proj, down_proj, which are no linear"),
        (("q_proj", "up_proj", "down_proj"), "choose among them$"),
        (("gate_proj", "c_projj", "v_pro"), r"names gate_proj, c_projj, v_pro, .*did you mean c_proj, v_proj\?$"),
    ],
)
def test_all_targets_that_are_no_layers_are_told_and_only_a_mistyped_one_is_guessed(
    targets: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        resolve_targets(tiny_starcoder2(), Lora(targets=targets))


def test_a_model_without_linear_layers_is_refused() -> None:
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(GPT2Config(n_layer=1))  # its layers are of a kind of their own
    with pytest.raises(UserError, match="the model has no linear layers to adapt"):
        resolve_targets(base, Lora())


def test_a_fresh_adapter_changes_nothing() -> None:
    base = tiny_starcoder2()
    ids = torch.arange(20)[None]
    before = base(input_ids=ids).logits
    model = add_adapter(base, Lora(rank=4), dtype=torch.float32, seed=0)
    torch.testing.assert_close(model(input_ids=ids).logits, before)


def test_the_saved_adapter_is_loaded_by_plain_peft(tmp_path: Path) -> None:
    from peft import PeftModel

    model = add_adapter(tiny_starcoder2(), Lora(rank=4), dtype=torch.float32, seed=0)
    weights = FlatWeights(model)
    weights.master.add_(torch.randn(weights.master.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    weights.publish()
    save_adapter(model, dict(weights.named()), tmp_path, base_id="base")
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    ids = torch.arange(20)[None]
    loaded = PeftModel.from_pretrained(tiny_starcoder2(), tmp_path)
    torch.testing.assert_close(loaded(input_ids=ids).logits, model(input_ids=ids).logits)

"""Kinds of models, each tiny and with random weights: trained as transformers computes it, or refused in one line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conftest import pack_of
from runner.config.job import Data, Job, Lora, Model
from runner.errors import UserError
from runner.evaluation.generation import Sampling, complete
from runner.evaluation.generation.cache import _slot_attention
from runner.model.adapter import causal_lm
from runner.model.attention import _packed_attention
from runner.model.base import Residency, load_base
from runner.model.kinds import decoder_layers
from runner.plan import read_geometry, settle
from runner.plan.settings import Device
from runner.runs import RunFolder
from runner.train import agreement, assembly, step
from runner.train.agreement import check_agreement
from runner.train.assembly import assemble
from runner.train.batches import micro_batch
from runner.train.loss import linear_cross_entropy
from runner.train.reporter import SilentReporter
from runner.train.setup import build_model, compile_layers
from runner.train.step import token_losses
from runner.train.world import World

CPU = torch.device("cpu")
LENGTHS = (9, 7)
PROMPTS = ("5 17 99", "64 3 22 41 8 100 31", "77")
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
OLD_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
GROUPED = {**SIZES, "num_key_value_heads": 2}
TRAINED: dict[str, Mapping[str, object]] = {
    "cohere": GROUPED,
    "gemma": {**GROUPED, "head_dim": 8},
    "gpt2": OLD_SIZES,
    "gpt_bigcode": OLD_SIZES,
    "gpt_neox": SIZES,
    "gptj": {**OLD_SIZES, "rotary_dim": 4},
    "granite": {**GROUPED, "logits_scaling": 8.0},
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 4},
    "mixtral": GROUPED,
    "olmo2": GROUPED,
    "phi": SIZES,
    "phi3": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "starcoder2": GROUPED,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
REFUSED: dict[str, tuple[Mapping[str, object], str]] = {  # from the configuration alone
    "falcon": (SIZES, "transformers does not let another attention take the place of its own"),
    "gemma2": (
        {**GROUPED, "head_dim": 8},
        "attn_logit_softcapping 50.0 and final_logit_softcapping 30.0 of the configuration would be left out",
    ),
    "gemma3": ({"text_config": GROUPED, "vision_config": VISION}, "they are more than a language model"),
    "gpt_neo": (
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
        "transformers does not let another attention take the place of its own",
    ),
    "gpt_oss": (GROUPED, "transformers does not let another attention take the place of its own"),
    "lfm2": ({**GROUPED, "layer_types": ["conv", "full_attention"]}, "in layers of conv documents in one buffer"),
    "mamba": ({"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, "in layers of linear_attention documents"),
    "rwkv": (
        {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
        "its layers carry a state from token to token",
    ),
    "stablelm": (GROUPED, "transformers does not let another attention take the place of its own"),
}


def tiny_job(folder: Path, model_type: str, values: Mapping[str, object]) -> Job:
    """A job that trains a model of ``model_type`` with random weights."""
    from transformers import AutoConfig

    vocabulary: dict[str, object] = {"vocab_size": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    AutoConfig.for_model(model_type, **{**vocabulary, **values}).save_pretrained(folder)
    lora = None if model_type == "gpt2" else Lora()  # whose linear layers are none of torch's
    model = Model(id=str(folder), weights="random", quantization="none")
    return Job(model=model, data=Data(max_length=64), lora=lora)


def tiny_base(folder: Path, model_type: str, values: Mapping[str, object]) -> nn.Module:
    job = tiny_job(folder, model_type, values)
    return shaken(load_base(job.model, CPU, residency="dequantized", seed=0))


def shaken(model: nn.Module) -> nn.Module:
    """``model`` with weights so large that logits differ, biases and norms included."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


class Numbers:
    """A tokenizer of ids written as numbers, of which no text ends an answer."""

    bos_ids: tuple[int, ...] = ()
    eos_id, pad_id = 128, 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


def by_transformers(lm: Any, prompt: str) -> tuple[int, ...]:
    """The greedy answer of eight tokens by whole passes of transformers' own model."""
    ids = torch.tensor(Numbers().encode([prompt]))
    for _ in range(8):
        with torch.no_grad():
            best = lm(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, best], dim=1)
    return tuple(ids[0, -8:].tolist())


@pytest.mark.parametrize("model_type", TRAINED)
def test_a_model_is_trained_on_the_losses_of_its_own_logits_and_answers_by_them(
    tmp_path: Path, model_type: str
) -> None:
    job = tiny_job(tmp_path, model_type, TRAINED[model_type])
    settings = settle(job, read_geometry(job), Device("cpu", "", 8.0), ranks=1)
    model = build_model(job, settings, CPU)
    lm: Any = causal_lm(model)
    for part in (lm.get_decoder(), lm.get_output_embeddings()):
        shaken(part)
    model.eval()
    batch = micro_batch([pack_of(LENGTHS, capacity=16)], 0, CPU)
    _, losses = token_losses(model, batch, scale=1.0)
    wanted = []
    for ids in batch.ids.split(LENGTHS, dim=1):  # type: ignore[no-untyped-call]  # torch leaves it untyped
        logits = lm(input_ids=ids, use_cache=False).logits[0]
        prompt = ids.shape[1] // 3  # which is not learned
        wanted.append(F.cross_entropy(logits[prompt - 1 : -1], ids[0, prompt:], reduction="none"))
    learned = torch.cat(wanted)
    assert float(learned.std()) > 0.1  # logits that say something
    torch.testing.assert_close(losses, learned, atol=1e-5, rtol=0)
    check_agreement(lm, "a model")
    answers = [answer.ids for (answer,) in complete(model, Numbers(), PROMPTS, sampling=Sampling(), max_new_tokens=8)]
    assert answers == [by_transformers(lm, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("model_type", REFUSED)
def test_a_model_is_refused_by_its_configuration(tmp_path: Path, model_type: str) -> None:
    values, told = REFUSED[model_type]
    with pytest.raises(UserError) as raised:
        read_geometry(tiny_job(tmp_path, model_type, values))
    assert told in str(raised.value)
    assert str(raised.value).startswith(f"{model_type} models are not trained")
    assert f"model.id {tmp_path}" in str(raised.value)


def test_a_model_is_refused_before_data_are_tokenised_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tiny_job(tmp_path / "model", "gemma2", REFUSED["gemma2"][0])
    monkeypatch.setattr(assembly, "load_data", lambda *_, **__: pytest.fail("tokenised"))
    with pytest.raises(UserError, match="gemma2 models are not trained"):
        assemble(job, RunFolder(tmp_path / "run"), World(device=CPU), SilentReporter(), cache=tmp_path)


def test_a_model_that_mixes_documents_is_refused_before_its_first_step(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, "opt", {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": 32})
    settings = settle(job, read_geometry(job), Device("cpu", "", 8.0), ranks=1)
    with pytest.raises(UserError, match=rf"the loss of document 2 is off by .* nats a token; model.id {tmp_path}"):
        build_model(job, settings, CPU)


def test_a_scale_of_the_logits_that_is_left_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tmp_path, "granite", TRAINED["granite"])
    check_agreement(base, "a model")
    monkeypatch.setattr(step, "logit_scale", lambda _config: 1.0)
    with pytest.raises(UserError, match="granite models are not computed here as transformers computes them"):
        check_agreement(base, "a model")


def test_a_bias_of_the_head_that_is_left_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tmp_path, "phi", TRAINED["phi"])

    def without_bias(
        hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, *, scale: float, bias: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert bias.shape == (128,)
        return linear_cross_entropy(hidden, head, targets, scale=scale)

    monkeypatch.setattr(step, "linear_cross_entropy", without_bias)
    with pytest.raises(UserError, match="the loss of document 1 is off by"):
        check_agreement(base, "a model")


def test_a_pass_that_a_model_does_not_take_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise ValueError("packed sequences cannot be kept apart\nor so")

    base = tiny_base(tmp_path, "llama", GROUPED)
    monkeypatch.setattr(agreement, "token_losses", refusing)
    with pytest.raises(UserError, match=r"llama models .* \(packed sequences cannot be kept apart\); model.id a model"):
        check_agreement(base, "a model")


def test_looking_changes_nothing(tmp_path: Path) -> None:
    base = tiny_base(tmp_path, "llama", GROUPED).train()
    before, weights = torch.get_rng_state(), {name: p.clone() for name, p in base.named_parameters()}
    check_agreement(base, "a model")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in base.modules())
    assert base.config._attn_implementation == "sdpa"  # type: ignore[union-attr]  # a transformers configuration
    for name, parameter in base.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.grad is None


def test_weights_that_are_shared_out_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tmp_path, "llama", GROUPED)
    monkeypatch.setattr(agreement, "token_losses", lambda *_, **__: pytest.fail("looked"))
    next(base.parameters()).ds_id = 0  # type: ignore[attr-defined]  # as DeepSpeed marks them
    check_agreement(base, "a model")


def test_rounding_in_16_bits_is_no_disagreement(tmp_path: Path) -> None:
    base = tiny_base(tmp_path, "starcoder2", GROUPED).to(torch.bfloat16)
    check_agreement(base, "a model")


@pytest.mark.gpu
@pytest.mark.parametrize("residency", ["dequantized", "nf4"])
def test_the_kernels_of_a_gpu_agree_on_the_embedded_base(residency: Residency) -> None:
    base = load_base(Model(), torch.device("cuda"), residency=residency, seed=0)
    check_agreement(base, "the embedded base")


def test_layers_are_found_by_other_names_and_compiled(tmp_path: Path) -> None:
    base = tiny_base(tmp_path, "gpt_bigcode", OLD_SIZES)
    compile_layers(base, budget=1.0)
    layers = decoder_layers(base)
    assert len(layers) == 2
    assert all(layer._compiled_call_impl is not None for layer in layers)


@pytest.mark.parametrize("attention", [_packed_attention, _slot_attention])
@pytest.mark.parametrize(("key", "told"), [("softcap", "a cap on its scores"), ("s_aux", "attention sinks")])
def test_terms_of_attention_are_refused_and_not_dropped(attention: Callable[..., object], key: str, told: str) -> None:
    states = torch.zeros(1, 2, 4, 8)
    with pytest.raises(UserError, match=rf"{told} \({key}\)"):
        attention(nn.Module(), states, states, states, None, scaling=1.0, slot_pass=None, **{key: 1.0})


def test_a_model_that_hands_on_no_borders_is_told() -> None:
    states = torch.zeros(1, 2, 4, 8)
    with pytest.raises(UserError, match="does not tell its attention where documents end"):
        _packed_attention(nn.Module(), states, states, states, None, scaling=1.0, softcap=None)

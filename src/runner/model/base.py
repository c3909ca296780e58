"""The frozen base model, on its device, in its numeric form.

The adapter on top is in ``adapter``; where the weights lie is in ``source``.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from runner.config.job import Model
from runner.errors import UserError
from runner.model.attention import PACKED, attention_for, register_packed_attention
from runner.model.nf4 import round_to_nf4
from runner.model.source import commit_of, locate, not_loaded, weight_files

Residency = Literal["dequantized", "nf4"]


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where matrix units have it; float32 on CPUs, where 16-bit products can be 100 times slower."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_config(model: Model) -> Any:
    """The transformers configuration of ``model``, its dropouts set to ``model.dropout``.

    ``_commit_hash`` is the full commit of a hub model, None for a folder.
    """
    from transformers import AutoConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # it warns of token ids of configurations that nobody asked for
    try:
        config = AutoConfig.from_pretrained(locate(model.id), revision=model.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        remedy = "check the id, or run `runner fetch` on a connected machine"
        raise not_loaded(error, "no model configuration could be loaded", model.id, remedy) from error
    for key in vars(config):
        if key.endswith(("dropout", "pdrop")) and isinstance(getattr(config, key), int | float):
            setattr(config, key, model.dropout)
    config.use_cache = False
    config._commit_hash = commit_of(model)  # which transformers 5.24 tells no more
    return config


def load_skeleton(config: Any, model_id: str) -> nn.Module:
    """The causal language model of ``config`` on torch's ``meta`` device: every name and shape, no memory.

    Raises ``UserError`` when transformers knows no such model.
    """
    with torch.device("meta"):
        return _from_config(config, model_id)


def load_base(model: Model, device: torch.device, *, residency: Residency, seed: int) -> nn.Module:
    """The causal language model of ``model`` on ``device``, every parameter frozen.

    ``residency`` says how NF4 weights stay: ``dequantized`` (rounded once, multiplied as they are) or ``nf4``
    (bitsandbytes layers, unpacked in every product; CUDA only).  Random weights depend on ``seed`` alone.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    config = load_config(model)
    dtype = compute_dtype(device)
    attention = attention_for(device, dtype)
    if attention == PACKED:
        register_packed_attention()
    if model.weights == "random":
        torch.manual_seed(seed)
        base = _from_config(config, model.id, dtype=torch.float32, attn_implementation=attention)
        base = base.to(device=device, dtype=dtype)
    else:
        base = _pretrained_base(model, config, _loading(model, device, dtype, attention, residency))
    if model.quantization == "nf4" and residency == "dequantized":
        round_to_nf4(base)
    return base.requires_grad_(requires_grad=False)


def check_weights(model: Model) -> None:
    """Raise ``UserError`` when weights are wanted of a folder without whole safetensors; of the hub nothing is told."""
    located = Path(locate(model.id))
    if model.weights == "pretrained" and located.is_dir():
        weight_files(located)


def check_vocabulary(config: Any, tokens: int, model_id: str) -> None:
    """Raise ``UserError`` when the tokenizer knows more tokens than the model has rows for."""
    if tokens > config.vocab_size:
        raise UserError(
            f"its tokenizer has {tokens:,} tokens and its embedding {config.vocab_size:,} rows",
            f"model.id {model_id}",
            "use the tokenizer that belongs to the model",
        )


def _from_config(config: Any, model_id: str, **options: Any) -> nn.Module:
    from transformers import AutoModelForCausalLM

    try:
        base: nn.Module = AutoModelForCausalLM.from_config(config, trust_remote_code=False, **options)
    except ValueError as error:
        raise not_loaded(
            error, "it is no causal language model", model_id, "take one that transformers knows"
        ) from error
    return base


def _loading(
    model: Model, device: torch.device, dtype: torch.dtype, attention: str, residency: Residency
) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained``: only safetensors, no code from the hub."""
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    options: dict[str, Any] = {
        "revision": model.revision,
        "dtype": dtype,
        "attn_implementation": attention,
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if not is_deepspeed_zero3_enabled():  # it brings each part to its own device
        options["device_map"] = {"": device}
    if model.quantization == "nf4" and residency == "nf4":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return options


def _pretrained_base(model: Model, config: Any, options: dict[str, Any]) -> nn.Module:
    from transformers import AutoModelForCausalLM

    check_weights(model)
    try:
        base: nn.Module = AutoModelForCausalLM.from_pretrained(locate(model.id), config=config, **options)
    except (OSError, ValueError) as error:
        remedy = "only safetensors are read; run `runner fetch` on a connected machine"
        raise not_loaded(error, "its weights could not be loaded", model.id, remedy) from error
    return base

"""LoRA on a frozen base: which layers carry it, how it starts, how it is saved and read.

The files are PEFT's own, so that ``PeftModel.from_pretrained`` loads them without this program.
"""

import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runner.config.job import Lora
from runner.errors import UserError
from runner.model.nf4 import frozen_linears

WEIGHTS_FILE = "adapter_model.safetensors"
NAME = ".default"  # PEFT's name of the only adapter, left out of its files


def add_adapter(base: nn.Module, lora: Lora, *, dtype: torch.dtype, seed: int) -> nn.Module:
    """``base`` with a fresh adapter: A random from ``seed``, B zero, so that nothing changes before training.

    Raises ``UserError`` for a target that matches no linear layer.
    """
    from peft import LoraConfig, get_peft_model

    targets = resolve_targets(base, lora)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = get_peft_model(base, config, autocast_adapter_dtype=False)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return model


def resolve_targets(base: nn.Module, lora: Lora) -> tuple[str, ...]:
    """The last part of the name of every layer to adapt, sorted; each one matches a linear layer.

    Raises ``UserError`` for a target that matches none, and for a model that has none at all.
    """
    present = sorted({name.rsplit(".", 1)[-1] for name, _ in frozen_linears(base)})
    if not present:
        raise UserError("the model has no linear layers to adapt", f"lora.targets {lora.targets}", "take another model")
    if lora.targets == "all-linear":
        return tuple(present)
    wrong = [target for target in lora.targets if target not in present]
    if wrong:
        are = "are no linear layers" if len(wrong) > 1 else "is no linear layer"
        raise UserError(
            f"lora.targets names {', '.join(wrong)}, which {are} of this model",
            f"its layers are {', '.join(present)}",
            _meant(wrong, present),
        )
    return tuple(sorted(lora.targets))


def _meant(wrong: Sequence[str], present: Sequence[str]) -> str:
    """The layers that were likely mistyped: not those of another model, whose names share an ending with some here."""
    close = [match for target in wrong for match in difflib.get_close_matches(target, present, n=1, cutoff=0.85)]
    return f"did you mean {', '.join(dict.fromkeys(close))}?" if close else "choose among them"


def causal_lm(model: nn.Module) -> Any:
    """The transformers model under a PEFT wrapper, or ``model`` itself; adapters stay in place."""
    wrapper: Any = model
    return wrapper.get_base_model() if hasattr(model, "get_base_model") else model


def save_adapter(model: nn.Module, weights: Mapping[str, Tensor], directory: Path, *, base_id: str) -> None:
    """Write ``weights`` (parameter names of ``model`` to float32 tensors) as PEFT files into ``directory``."""
    from safetensors.torch import save_file

    wrapper: Any = model
    config = wrapper.peft_config["default"]
    config.base_model_name_or_path = base_id
    config.inference_mode = True
    config.save_pretrained(directory)
    config.inference_mode = False
    save_file({file_key(name): tensor for name, tensor in weights.items()}, directory / WEIGHTS_FILE)


def save_full(model: nn.Module, weights: Mapping[str, Tensor], directory: Path) -> None:
    """Write a fully trained model in the Hugging Face layout, float32 safetensors, into ``directory``."""
    wrapper: Any = model
    wrapper.save_pretrained(directory, state_dict=dict(weights))


def file_key(name: str) -> str:
    """The key of a parameter in PEFT's file: its name without the adapter's name."""
    return name.replace(f"{NAME}.", ".")

"""A run's weights on the device, to answer with or to measure: the tuned model, and the base it came from.

Prompts and sampling are ``runner.evaluation``'s; what is made of the weights for others, ``exporting``'s.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from runner.config.job import Job, Model
from runner.errors import UserError
from runner.model.adapter import WEIGHTS_FILE
from runner.model.base import Residency, compute_dtype, load_base
from runner.model.tokenizer import Encoder, load_encoder
from runner.plan import present_device, read_geometry
from runner.plan.memory import GIB
from runner.report.commands import resume
from runner.runs import Damaged, RunFolder, verified

Weights: TypeAlias = Literal["final", "best"]

ROOM = 0.7  # of the free memory that a 16-bit base may take; the rest is for caches of keys and values
FULL_WEIGHTS_FILE = "model.safetensors"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHECKPOINT = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class InferenceModel:
    """The tuned ``model`` in eval mode, its adapters on, in the device's fast type, after training step ``step``.

    For generation use it within ``padded_attention(causal_lm(model))``; over packed buffers use it as it is.
    """

    model: nn.Module
    encoder: Encoder
    job: Job  # its model.revision is the commit that the run was trained on, where one was recorded
    step: int
    device: torch.device

    @contextmanager
    def base(self) -> Iterator[nn.Module]:
        """The model before training: the same one with its adapters off, which are on again after the block.

        Of a fully trained model the base is another one: it is loaded at the first use, and then stays.
        """
        wrapper: Any = self.model
        if hasattr(wrapper, "disable_adapter"):
            with wrapper.disable_adapter():
                yield self.model
        else:
            yield self._base_apart

    @cached_property
    def _base_apart(self) -> nn.Module:
        return load_untuned(self.job, self.device)


def load_for_inference(job: Job, folder: RunFolder, weights: Weights, device: torch.device) -> InferenceModel:
    """The ``weights`` of the run in ``folder`` on ``device``, on the base that they were trained on.

    Raises ``UserError`` when the weights are missing (it says what there is) or damaged, or belong to another base.
    """
    step = weights_step(folder, weights)
    pinned = as_trained(job, folder)
    path = folder.root / weights
    if job.lora is None:
        model = load_base(saved_model(job, path), device, residency="dequantized", seed=job.train.seed)
    else:
        check_base(path, pinned.model)
        model = _with_adapter(load_untuned(pinned, device), path, device)
    model.eval()
    return InferenceModel(model, load_encoder(pinned.model), pinned, step, device)


def load_untuned(job: Job, device: torch.device) -> nn.Module:
    """The base of ``job`` on ``device`` in eval mode, in the form that fits there."""
    return load_base(job.model, device, residency=_residency(job, device), seed=job.train.seed).eval()


def as_trained(job: Job, folder: RunFolder) -> Job:
    """``job`` with the base's revision that the run recorded when it was trained, so that a moved branch is no matter.

    Bases that are folders or embedded have none.
    """
    try:
        fingerprints = json.loads(folder.environment_file.read_text())["fingerprints"]
        commit = str(fingerprints["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return job
    if not _COMMIT.fullmatch(commit):
        return job
    return job.model_copy(update={"model": job.model.model_copy(update={"revision": commit})})


def saved_model(job: Job, path: Path) -> Model:
    """The fully trained model in the folder ``path``, as a base to load."""
    return job.model.model_copy(update={"id": str(path), "revision": None, "weights": "pretrained"})


def weights_step(folder: RunFolder, weights: Weights) -> int:
    """The training step of the run's ``weights``; ``UserError`` when they are missing or not as they were written."""
    path = folder.root / weights
    if not any((path / name).is_file() for name in (WEIGHTS_FILE, FULL_WEIGHTS_FILE)):
        raise _missing(folder, weights)
    try:
        return verified(path).step
    except Damaged as error:
        raise UserError(
            f"the {weights} weights of {folder.name} are damaged: {error}",
            str(path),
            f"use --weights {_other(weights)}, or train the run again",
        ) from error


def check_base(path: Path, model: Model) -> None:
    """``UserError`` unless the adapter in ``path`` was trained on ``model``: the same id and, if named, revision."""
    config = json.loads((path / "adapter_config.json").read_text())
    for name, mine, key in (("base", model.id, "base_model_name_or_path"), ("revision", model.revision, "revision")):
        theirs = config.get(key)
        if theirs is not None and theirs != mine:
            raise UserError(
                f"the adapter was trained on {name} {theirs}, and the run's job names {mine}",
                str(path / "adapter_config.json"),
                "restore the run's job.yaml, or take the adapter's own run",
            )


def _with_adapter(base: nn.Module, path: Path, device: torch.device) -> nn.Module:
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PEFT and transformers will rename
        model: nn.Module = PeftModel.from_pretrained(base, str(path), autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(device=device, dtype=compute_dtype(device))
    return model.requires_grad_(requires_grad=False)


def _residency(job: Job, device: torch.device) -> Residency:
    """Unpacked where a 16-bit base leaves room, else in four bits; a job that names one gets it."""
    if device.type != "cuda" or job.model.quantization == "none":
        return "dequantized"
    if job.model.resident != "auto":
        return job.model.resident
    geometry = read_geometry(job)
    size = 2 * (geometry.linear + geometry.other) / GIB
    return "dequantized" if size <= ROOM * present_device().free_gib else "nf4"


def _missing(folder: RunFolder, weights: Weights) -> UserError:
    other = _other(weights)
    remedy = f"finish it with `{resume(folder).text}`"
    there = []
    if (folder.root / other).is_dir():
        there.append(f"{other} weights of step {_step_of(folder.root / other)}")
        remedy = f"use --weights {other}, or {remedy}"
    saved = sorted(int(match[1]) for path in _checkpoints(folder) if (match := _CHECKPOINT.fullmatch(path.name)))
    if saved:
        there.append(f"checkpoints of step {', '.join(map(str, saved))}")
    found = " and ".join(there) or "no checkpoint"
    return UserError(f"the run {folder.name} has no {weights} weights", f"{folder.root} has {found}", remedy)


def _checkpoints(folder: RunFolder) -> list[Path]:
    return list(folder.checkpoints.iterdir()) if folder.checkpoints.is_dir() else []


def _step_of(path: Path) -> str:
    try:
        return str(verified(path, contents=False).step)
    except Damaged:
        return "unknown"


def _other(weights: Weights) -> Weights:
    return "best" if weights == "final" else "final"

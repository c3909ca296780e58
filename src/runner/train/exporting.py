"""The forms in which a run's weights leave it: what each costs in loss and in bytes, and its folder.

Folding an adapter into a base is ``runner.model.merge``'s; the page beside the weights, ``runner.report.card``'s.
"""

import gc
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn

from runner.config.job import Job, Model
from runner.config.load import job_hash
from runner.data import PackedSplit
from runner.errors import DoesNotFit, UserError
from runner.model.base import load_base
from runner.model.merge import Recipe, base_folder, fill, merged_bytes, write_merged
from runner.model.source import locate
from runner.plan import present_device
from runner.plan.memory import GIB
from runner.report.card import Form, FormMeasure, Origin
from runner.runs import Damaged, Manifest, RunFolder, package_versions, publish_folder, verified
from runner.train.inference import Weights, as_trained, check_base, load_for_inference, weights_step
from runner.train.step import validation_losses
from runner.train.world import World

Show: TypeAlias = Callable[[str, int, int], None]

MEASURED_TOKENS = 8192  # in one forward pass
ROOM = 0.9  # of the free memory that a merged model may take while it is measured
_FRONT_MATTER = re.compile(r"---\s*\n(.*?)\n---", re.DOTALL)
_LICENCE = re.compile(r"^license:\s*['\"]?([\w.-]+)", re.MULTILINE)
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Subject:
    """Which weights of which run are exported; merged ones in ``dtype``."""

    job: Job
    folder: RunFolder
    weights: Weights
    dtype: torch.dtype
    device: torch.device

    @property
    def path(self) -> Path:
        """Where the run keeps them."""
        return self.folder.root / self.weights

    @cached_property
    def step(self) -> int:
        """Of training, of the weights, which are hashed for it once; ``UserError`` when missing or damaged."""
        return weights_step(self.folder, self.weights)

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms they can take, the one as trained first."""
        if self.job.lora is None:
            return ("full", "merged-16bit")
        nf4: tuple[Form, ...] = ("merged-nf4",) if self.job.model.quantization == "nf4" else ()
        return ("adapter", *nf4, "merged-16bit")


def measure_forms(subject: Subject, held_out: PackedSplit, *, show: Show | None = None) -> tuple[FormMeasure, ...]:
    """The validation loss of every form of ``subject``, the one as trained first.

    Each has the weights that its folder would hold, rounded to ``dtype``, and computes as everything does on this
    device: in float32 on a CPU, else in 16 bits.  A merged model that the device cannot hold is not measured.
    """
    measured = []
    for number, form in enumerate(subject.forms):
        if show is not None:
            show("measure", number, len(subject.forms))
        why = _why_not_here(subject, form)
        loss = None if why else _loss(subject, form, held_out)
        _free_memory(subject.device)
        measured.append(FormMeasure(form, loss, form_bytes(subject, form), why))
    if show is not None:
        show("measure", len(subject.forms), len(subject.forms))
    return tuple(measured)


def form_bytes(subject: Subject, form: Form) -> int:
    """The bytes of the weights of ``form``; nothing is computed."""
    if form in ("adapter", "full"):
        return sum(file.stat().st_size for file in subject.path.glob("*.safetensors"))
    return merged_bytes(_recipe(subject, form))


def write_form(subject: Subject, form: Form, target: Path, *, card: str, show: Show | None = None) -> None:
    """``form`` of ``subject`` as the folder ``target``, which it replaces, with ``card`` as its README.md.

    The folder appears whole or not at all.  ``DoesNotFit`` when the disk is too small.
    """
    check_form(subject, form)
    manifest = _manifest(subject, form)
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_room(form_bytes(subject, form), target.parent)
    with publish_folder(target, manifest=manifest) as folder:
        if form == "adapter":
            _copy_adapter(subject, folder)
        else:
            write_merged(_recipe(subject, form), folder, progress=show)
        (folder / "README.md").write_text(card, encoding="utf-8")


def holds_form(subject: Subject, form: Form, target: Path) -> bool:
    """Whether ``target`` is this very ``form`` of ``subject``, whole, from an export before."""
    try:
        manifest = verified(target, contents=False)
    except (Damaged, OSError):
        return False
    wanted = _manifest(subject, form)
    return manifest.step == wanted.step and manifest.difference(wanted.stamp) is None


def check_form(subject: Subject, form: Form) -> None:
    """``UserError`` when the run has no such form."""
    if form in subject.forms:
        return
    because = "lora is null" if subject.job.lora is None else f"it trained an adapter ({subject.job.method})"
    if form == "merged-nf4" and subject.job.lora is not None:
        because = "model.quantization is none"
    raise UserError(
        f"{subject.folder.name} has no form {form}: {because}", "--form", f"choose {' or '.join(subject.forms)}"
    )


def is_export(target: Path) -> bool:
    """Whether ``target`` is a folder that ``write_form`` made, and that may be replaced."""
    try:
        return "form" in verified(target, contents=False).stamp
    except (Damaged, OSError):
        return False


def origin_of(subject: Subject, data_licences: Mapping[str, int]) -> Origin:
    """Where the base and the data of ``subject`` come from; ``data_licences`` counts rows by licence."""
    model, data = as_trained(subject.job, subject.folder).model, subject.job.data
    return Origin(
        revision=model.revision,
        licence=base_licence(model),
        base_on_hub=not Path(locate(model.id)).is_dir(),
        data_on_hub=not data.id.startswith("builtin:") and not Path(data.id).expanduser().exists(),
        data_licences=data_licences,
    )


def stored_dtype(subject: Subject) -> str:
    """The type that merged weights are rounded from, such as ``float32``; empty where the base does not say it."""
    if subject.job.lora is None:
        return "float32"
    folder = base_folder(as_trained(subject.job, subject.folder).model, weights=False)
    config = json.loads((folder / "config.json").read_text())
    return str(config.get("torch_dtype") or config.get("dtype") or "")


def base_licence(model: Model) -> str:
    """The licence that the base states, as the hub names it (``apache-2.0``); empty where nothing states one."""
    if model.id.startswith("builtin:"):
        return "apache-2.0"
    if model.id.startswith("bigcode/starcoder2"):
        return "bigcode-openrail-m"
    folder = base_folder(model, weights=False)
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    stated = _FRONT_MATTER.match(text)
    named = _LICENCE.search(stated[1]) if stated else None
    if named:
        return named[1]
    config = json.loads((folder / "config.json").read_text())
    return str(config.get("license") or "")


def _loss(subject: Subject, form: Form, held_out: PackedSplit) -> float:
    rows = max(1, MEASURED_TOKENS // subject.job.data.max_length)
    return validation_losses(_loaded(subject, form), held_out, World(device=subject.device), rows=rows).loss


def _loaded(subject: Subject, form: Form) -> nn.Module:
    """The model of one form on the device."""
    if form in ("adapter", "full"):
        return load_for_inference(subject.job, subject.folder, subject.weights, subject.device).model
    recipe = _recipe(subject, form)
    plain = recipe.base.model_copy(update={"quantization": "none"})
    model = load_base(plain, subject.device, residency="dequantized", seed=recipe.seed).eval()
    if subject.device.type == "cuda" and recipe.dtype == torch.float16:
        model.half()
    fill(model, recipe)
    return model


def _free_memory(device: torch.device) -> None:
    """Give back what the model measured last held, so that the next one finds room."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _why_not_here(subject: Subject, form: Form) -> str:
    if form in ("adapter", "full") or subject.device.type != "cuda":
        return ""
    needed = form_bytes(subject, form) / GIB
    free = present_device().free_gib
    return f"needs {needed:.1f} GiB, {free:.1f} GiB are free" if needed > ROOM * free else ""


def _recipe(subject: Subject, form: Form) -> Recipe:
    pinned = as_trained(subject.job, subject.folder)
    dtype = torch.float32 if form == "full" else subject.dtype
    seed = subject.job.train.seed
    return Recipe(pinned.model, subject.path, form == "merged-nf4", dtype, subject.device, seed)


def _copy_adapter(subject: Subject, folder: Path) -> None:
    """PEFT's files, float32 as they are; the configuration names the revision of the base where it is known."""
    pinned = as_trained(subject.job, subject.folder)
    check_base(subject.path, pinned.model)
    for name in _ADAPTER_FILES:
        shutil.copyfile(subject.path / name, folder / name)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["revision"] = pinned.model.revision
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _manifest(subject: Subject, form: Form) -> Manifest:
    stamp = {
        "job": job_hash(subject.job),
        "weights": subject.weights,
        "form": form,
        "dtype": str(subject.dtype).removeprefix("torch."),
    }
    return Manifest(subject.step, 0, stamp, package_versions())


def _check_room(size: int, parent: Path) -> None:
    free = shutil.disk_usage(parent).free
    if size > free:
        raise DoesNotFit(
            f"the weights take {size / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free",
            str(parent),
            "free space, or --to",
        )

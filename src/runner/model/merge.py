"""An adapter folded into its base: W' = W + scale x B A, written as a model in the Hugging Face layout.

That layout (config.json, safetensors with an index where there are several, tokenizer files) is what plain
transformers and vLLM read.  Which base is merged into, and how good the result is, is ``runner.train.exporting``'s.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from runner.config.job import Model
from runner.errors import UserError
from runner.model.adapter import WEIGHTS_FILE
from runner.model.base import compute_dtype, load_base, load_config, load_skeleton
from runner.model.nf4 import frozen_linears, nf4_rounded
from runner.model.source import INDEX_FILE, ONE_FILE, locate, weight_files

SHARD_BYTES = 4 << 30  # of one file; a file's tensors are in memory together
CONFIG_FILE = "config.json"
READABLE = 0o644  # safetensors makes files for their owner alone, and servers run as somebody else
BESIDE = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
_SMALL_HUB_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "README.md")
_PEFT_PREFIX, _PEFT_A, _PEFT_B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Recipe:
    """What a merged model is made of.

    ``tuned`` is a folder with PEFT's adapter files, or with a fully trained model in place of the base's weights.
    ``rounded``: the base's frozen linear layers go through NF4 first, as they did in training.  The rounding is done
    on ``device``, in the type that training on it uses; the sum always in float32, rounded once to ``dtype``.
    """

    base: Model
    tuned: Path
    rounded: bool
    dtype: torch.dtype
    device: torch.device
    seed: int = 0  # of a base with random weights

    @property
    def has_adapter(self) -> bool:
        """Whether ``tuned`` holds an adapter and not a whole model."""
        return (self.tuned / WEIGHTS_FILE).is_file()


@dataclass(frozen=True)
class Tensors:
    """Tensors by name: their shapes at once, their contents one at a time."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]


@dataclass(frozen=True)
class Update:
    """What an adapter adds to one weight ``(outputs, inputs)``: scale x B A."""

    a: Tensor  # (rank, inputs)
    b: Tensor  # (outputs, rank)
    scale: float


def merged_tensors(recipe: Recipe) -> Tensors:
    """Every tensor of the merged model under the name its file gives it; a head that is the embedding is left out.

    Raises ``UserError`` when the adapter does not fit the base, or the base's files name their tensors otherwise.
    """
    skeleton = load_skeleton(load_config(recipe.base), recipe.base.id)
    source = _weights_of(recipe)
    own = {name for name, _ in skeleton.named_parameters()}  # a tied parameter stands here once
    tied = set(skeleton.state_dict()) - own - {name for name, _ in skeleton.named_buffers()}
    shapes = {name: shape for name, shape in source.shapes.items() if name not in tied}
    linears = {f"{name}.weight" for name, _ in frozen_linears(skeleton)} if recipe.rounded else set()
    updates = read_updates(recipe.tuned) if recipe.has_adapter else {}
    for name in sorted(updates.keys() | linears):
        if name not in shapes:
            raise UserError(
                f"the weights of the base hold no {name}, which is to be changed",
                f"model.id {recipe.base.id}",
                "export the adapter instead: it is loaded on the base as it is",
            )
    return Tensors(shapes, partial(_merged, recipe, source, updates, frozenset(linears)))


def merged_bytes(recipe: Recipe) -> int:
    """The bytes that the weights of the merged model will take; nothing is computed."""
    return _bytes(merged_tensors(recipe).shapes.values(), recipe.dtype)


def write_merged(
    recipe: Recipe,
    folder: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """The merged model into ``folder``, which exists, with the base's own configuration and tokenizer.

    Memory: one file's tensors (at most ``shard_bytes``, or one larger tensor) and a few float32 copies of one weight;
    a base of 1.2 GiB in files of 0.2 GiB, with weights of 0.25 GiB, took 0.5 GiB.
    ``progress`` gets the task, the tensors done and all of them.
    """
    from safetensors.torch import save_file

    tensors = merged_tensors(recipe)
    files = _shards(tensors.shapes, recipe.dtype, shard_bytes)
    done = 0
    for file, names in files.items():
        held = {}
        for name in names:
            held[name] = tensors.read(name).cpu().contiguous()
            done += 1
            if progress is not None:
                progress("merge", done, len(tensors.shapes))
        save_file(held, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(READABLE)
    if len(files) > 1:
        _write_index(folder, files, _bytes(tensors.shapes.values(), recipe.dtype))
    _write_beside(recipe, folder)


def fill(model: nn.Module, recipe: Recipe) -> None:
    """Put the merged weights, as a written model would hold them, in place of those of ``model``, a loaded base."""
    tensors = merged_tensors(recipe)
    parameters = dict(model.named_parameters())
    missing = sorted(parameters.keys() - tensors.shapes.keys())
    assert not missing, f"the merged model lacks {missing[:3]}"
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors.read(name))


def read_updates(folder: Path) -> dict[str, Update]:
    """What the PEFT adapter in ``folder`` adds, by the name of the weight in the base."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text())
    stored = load_file(folder / WEIGHTS_FILE)
    updates = {}
    for key, a in stored.items():
        if key.endswith(_PEFT_A):
            layer = key.removeprefix(_PEFT_PREFIX).removesuffix(_PEFT_A)
            b = stored[key.removesuffix(_PEFT_A) + _PEFT_B]
            updates[f"{layer}.weight"] = Update(a, b, float(config["lora_alpha"]) / a.shape[0])
    assert 2 * len(updates) == len(stored), "an adapter that is not plain LoRA"
    return updates


def base_folder(model: Model, *, weights: bool = True) -> Path:
    """The folder with every file of the base, brought from the hub's cache, or the hub, where it is not one itself.

    ``weights`` False asks for its small files only.

    Raises ``UserError`` when it is neither here nor within reach.
    """
    located = Path(locate(model.id))
    if located.is_dir():
        return located
    from huggingface_hub import snapshot_download

    patterns = [*_SMALL_HUB_FILES, *(["*.safetensors"] if weights else [])]
    try:
        return Path(snapshot_download(model.id, revision=model.revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the base's files are not in the cache ({str(error).splitlines()[0]})",
            f"model.id {model.id}, revision {model.revision or 'newest'}",
            "run `runner fetch` with the run's job.yaml on a connected machine",
        ) from error


@torch.no_grad()
def _merged(
    recipe: Recipe, source: Tensors, updates: Mapping[str, Update], linears: frozenset[str], name: str
) -> Tensor:
    tensor = source.read(name)
    if not tensor.is_floating_point():
        return tensor
    if name in linears:
        tensor = nf4_rounded(tensor.to(recipe.device, compute_dtype(recipe.device)))
    if name in updates:
        tensor = _updated(tensor.to(recipe.device, torch.float32), updates[name], name)
    result = tensor.to(recipe.dtype)
    if not torch.isfinite(result).all():
        raise UserError(f"{name} holds values that {_short(recipe.dtype)} cannot", "--dtype", "take bfloat16")
    return result


def _updated(weight: Tensor, update: Update, name: str) -> Tensor:
    outputs, inputs = update.b.shape[0], update.a.shape[1]
    if tuple(weight.shape) != (outputs, inputs):
        raise UserError(
            f"{name} is {tuple(weight.shape)} in the base and {(outputs, inputs)} in the adapter",
            "",
            "merge with the base that the adapter was trained on",
        )
    a, b = (part.to(weight.device, torch.float32) for part in (update.a, update.b))
    return weight + update.scale * (b @ a)


def _weights_of(recipe: Recipe) -> Tensors:
    if recipe.has_adapter and recipe.base.weights == "random":
        plain = recipe.base.model_copy(update={"quantization": "none"})
        module = load_base(plain, torch.device("cpu"), residency="dequantized", seed=recipe.seed)
        held = dict(module.named_parameters())
        return Tensors({name: tuple(t.shape) for name, t in held.items()}, lambda name: held[name].data)
    return _stored_tensors(base_folder(recipe.base) if recipe.has_adapter else recipe.tuned)


def _stored_tensors(folder: Path) -> Tensors:
    """The tensors of the safetensors files of a model in ``folder``."""
    from safetensors import safe_open

    place: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                place[name] = file
                shapes[name] = tuple(opened.get_slice(name).get_shape())

    def read(name: str) -> Tensor:
        with safe_open(place[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
            return tensor

    return Tensors(shapes, read)


def _shards(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, shard_bytes: int) -> dict[str, list[str]]:
    """The names of tensors by the file they go to, filled in order up to ``shard_bytes``."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = _bytes([shape], dtype)
        if groups[-1] and filled + size > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {ONE_FILE: groups[0]}
    return {f"model-{n:05d}-of-{len(groups):05d}.safetensors": group for n, group in enumerate(groups, 1)}


def _write_index(folder: Path, files: Mapping[str, list[str]], total: int) -> None:
    weight_map = {name: file for file, names in files.items() for name in names}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")


def _write_beside(recipe: Recipe, folder: Path) -> None:
    """The base's configuration, so that its own dropouts are back, in the new type; its tokenizer as it is."""
    source = base_folder(recipe.base, weights=False)
    config = json.loads((source / CONFIG_FILE).read_text())
    for key in ("dtype", "torch_dtype"):
        config.pop(key, None)
    config["torch_dtype"] = _short(recipe.dtype)  # the name that every version of transformers and vLLM reads
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    for name in BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _bytes(shapes: Iterable[tuple[int, ...]], dtype: torch.dtype) -> int:
    return sum(prod(shape) for shape in shapes) * dtype.itemsize


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

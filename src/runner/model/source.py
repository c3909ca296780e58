"""Where a base model comes from: the embedded one, a folder, or the hub; and what of it is never read.

Loading weights is in ``base``; bringing them into the cache beforehand is ``runner fetch``.
"""

import hashlib
import json
from pathlib import Path

from runner.config.disk import full_cache
from runner.config.job import Model
from runner.errors import RunnerError, UserError

EMBEDDED = {"builtin:tiny-starcoder2": Path(__file__).parent / "tiny"}
SAMPLES, SAMPLE_BYTES = 64, 1 << 16  # of each file of weights: to read all of them takes minutes
ONE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


def locate(model_id: str) -> str:
    """The folder of an embedded or local model, or the hub id unchanged.

    Raises ``UserError`` for an unknown ``builtin:`` name and for a path that is no folder.
    """
    if model_id.startswith("builtin:"):
        if model_id not in EMBEDDED:
            raise UserError(f"model.id is {model_id}", "", f"the embedded models are: {', '.join(sorted(EMBEDDED))}")
        return str(EMBEDDED[model_id])
    path = Path(model_id).expanduser()
    if model_id.startswith(("/", "./", "../", "~")) and not path.is_dir():
        raise UserError(f"model.id is {model_id}, and no such folder exists", "", "check the path")
    return str(path) if path.is_dir() else model_id


def commit_of(model: Model) -> str | None:
    """The full commit that ``model.revision`` stands for in the hub's cache; None when no configuration lies there."""
    if Path(locate(model.id)).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.id, "config.json", revision=model.revision)
    return Path(found).parent.name if isinstance(found, str) else None


def content_of(model: Model) -> str:
    """Sixteen hex digits that change with the configuration and the weights of a base in a folder.

    Of a large file only samples are looked at, evenly spread, and its size.  Raises as ``weight_files``.
    """
    folder = Path(locate(model.id))
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weight_files(folder):
        size = path.stat().st_size
        digest.update(f"|{path.name} {size}|".encode())
        with path.open("rb") as file:
            for number in range(SAMPLES):
                file.seek(number * size // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model in ``folder`` that transformers would load; none is opened.

    Raises ``UserError`` when there are none, when one is missing, and when the index names another kind of file:
    pickles can run code and are never read.
    """
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    if not (folder / INDEX_FILE).is_file():
        remedy = "bring them with `runner fetch`; pickled weights (.bin) are never loaded"
        raise UserError("no safetensors weights were found", str(folder), remedy)
    try:
        named = sorted({str(name) for name in json.loads((folder / INDEX_FILE).read_text())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{INDEX_FILE} cannot be read", str(folder), "bring the model there once more") from error
    for name in named:
        if not name.endswith(".safetensors"):
            raise UserError(f"{INDEX_FILE} names {name}", str(folder), "only safetensors are read, never pickles")
        if not (folder / name).is_file():
            raise UserError(f"{INDEX_FILE} names {name}, which is missing", str(folder), "bring the model there whole")
    return [folder / name for name in named]


def not_loaded(error: Exception, what: str, model_id: str, remedy: str) -> RunnerError:
    """What transformers refused, in one line, or that the disk of the cache is full.

    Code that a model brings is never run.
    """
    from huggingface_hub import constants

    if full := full_cache(error, f"the model {model_id}", Path(constants.HF_HUB_CACHE)):
        return full
    if "trust_remote_code" in str(error):
        return UserError(
            f"{what}: it needs Python code of its own, which is never run",
            f"model.id {model_id}",
            "take a model that transformers knows",
        )
    return UserError(f"{what} ({str(error).splitlines()[0]})", f"model.id {model_id}", remedy)

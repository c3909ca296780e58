"""What a job needs of the Hugging Face hub: asked for within a minute, downloaded, or refused in one line.

Only safetensors, JSON and tokenizer files are taken of a model: a pickle can run code when it is loaded.
"""

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runner.config.disk import full_cache, mib
from runner.config.job import Data, Model
from runner.errors import DoesNotFit, RunnerError, UserError

if TYPE_CHECKING:
    from runner.data.sources import Source

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
PAUSES_S = (0.0, 2.0, 6.0)  # before each attempt: 3 x 8 s + 8 s = at most 32 s
ATTEMPT_S = 8.0
IN_PACKAGE = "part of this package, Apache-2.0"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Fetched:
    """A model or data set that is at hand; ``bytes`` is None where nothing had to be fetched."""

    what: str
    id: str
    where: str
    licence: str
    commit: str | None = None
    bytes: int | None = None


def fetch_model(model: Model) -> Fetched:
    """Every file of ``model`` that training reads, in the hub's cache.

    Raises ``UserError`` when the hub cannot be reached within a minute, has no such model, keeps it behind terms
    not yet accepted, or has it without safetensors weights.
    """
    from runner.model.source import locate

    located = locate(model.id)
    if model.id.startswith("builtin:"):
        return Fetched("model", model.id, located, IN_PACKAGE)
    if Path(located).is_dir():
        return Fetched("model", model.id, located, _licence_beside(Path(located)))
    from huggingface_hub import constants, snapshot_download

    info = ask_for_model(model)
    files = _files_read(info)
    _check_room(_missing_bytes(model.id, info), model.id)
    _quiet()
    constants.HF_HUB_DOWNLOAD_TIMEOUT = int(ATTEMPT_S)  # a stalled file is tried 6 times with 1 s between: 53 s in all
    # by the revision's own name, not by its commit: only so is the name found in the cache when the hub is away
    folder = _told(
        lambda: snapshot_download(
            model.id,
            revision=model.revision,
            allow_patterns=[file.rfilename for file in files],
            etag_timeout=ATTEMPT_S,
        ),
        model.id,
        lambda: _missing_bytes(model.id, info),
    )
    size = sum(file.size or 0 for file in files)
    return Fetched("model", model.id, str(folder), _licence(info), str(info.sha), size)


def _quiet() -> None:
    """Silences the hub's library on each of its tries, and its bars where there is no terminal."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()


def is_on_hub(model: Model) -> bool:
    """Whether ``model`` is neither embedded nor a folder; ``UserError`` for a path or name that does not exist."""
    from runner.model.source import locate

    return not Path(locate(model.id)).is_dir()


def is_cached(model: Model) -> bool:
    """Whether every file of ``model`` that training reads lies in the hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from runner.model.source import weight_files

    kinds = [kind for kind in MODEL_FILES if model.weights == "pretrained" or kind != "*.safetensors"]
    try:
        folder = snapshot_download(
            model.id, revision=model.revision, allow_patterns=kinds, ignore_patterns="*/*", local_files_only=True
        )
        if model.weights == "pretrained":  # the library knows what is missing of what it brought as a whole itself
            weight_files(Path(folder))
    except (LocalEntryNotFoundError, UserError):
        return False
    return (Path(folder) / "config.json").is_file()


def ask_for_model(model: Model) -> Any:
    """The hub's record of ``model``: its commit, files and tags; ``UserError`` in one line within 32 s.

    Also ``UserError`` where its weights are wanted and it has none in safetensors.
    """
    from huggingface_hub import HfApi

    info = asked(lambda: HfApi().model_info(model.id, revision=model.revision, files_metadata=True), model.id, "model")
    if model.weights == "pretrained" and not any(file.rfilename.endswith(".safetensors") for file in _files_read(info)):
        raise UserError(
            f"the model {model.id} has no safetensors weights",
            f"https://huggingface.co/{model.id}",
            "name a model or revision that has them; pickled weights (.bin) are never loaded",
        )
    return info


def fetch_data(data: Data, cache: Path) -> Fetched:
    """The data set of ``data``, loaded once so that it lies in the cache; errors as for models."""
    from runner.data.sources import locate

    source = locate(data, cache)
    if data.id.startswith("builtin:"):
        return Fetched("data", data.id, "made when needed", IN_PACKAGE)
    rows, held_out = source.load()
    size = rows.table.nbytes + (held_out.table.nbytes if held_out else 0)
    if source.commit is None:
        return Fetched("data", data.id, str(Path(data.id).expanduser().resolve()), "as its files say", bytes=size)
    return Fetched("data", data.id, "the cache of Hugging Face", _data_licence(source, data), source.commit, size)


def _data_licence(source: "Source", data: Data) -> str:
    from huggingface_hub import HfApi

    return _licence(asked(lambda: HfApi().dataset_info(data.id, revision=source.commit), data.id, "data set"))


def _files_read(info: Any) -> list[Any]:
    """The files of the hub's record that training reads."""
    return [file for file in info.siblings or () if _is_read(file.rfilename)]


def _is_read(name: str) -> bool:
    return "/" not in name and any(Path(name).match(pattern) for pattern in MODEL_FILES)


def _licence(info: Any) -> str:
    """The licence a hub card or its tags name."""
    from runner.report.licences import licence_line

    names = (tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:"))
    return licence_line(next(names, ""))


def _licence_beside(folder: Path) -> str:
    files = sorted(path.name for path in folder.glob("LICENSE*"))
    return f"see {folder / files[0]}" if files else "no LICENSE file lies in the folder"


def asked(question: Callable[[], Answer], name: str, kind: str) -> Answer:
    """The hub's answer within 32 s, asked up to three times; raises ``UserError`` in one line."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    final = (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    fault: BaseException = TimeoutError("no answer")
    for pause in PAUSES_S:
        time.sleep(pause)
        answers: list[Answer] = []
        caught = _within(ATTEMPT_S, lambda: answers.append(question()))  # noqa: B023 (called before the next round)
        if caught is None:
            return answers[0]
        fault = caught
        if isinstance(fault, final):
            break
    raise _refused(fault, name, kind) from fault


def _within(seconds: float, call: Callable[[], None]) -> BaseException | None:
    """What ``call`` raises, or a ``TimeoutError`` after ``seconds``: a look-up of a name alone can hang longer."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread, which sorts it
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return ended[0] if ended else TimeoutError(f"no answer within {seconds:.0f} s")


def _told(download: Callable[[], Answer], name: str, missing: Callable[[], int]) -> Answer:
    """What ``download`` of the model ``name`` gives; ``missing`` says how many bytes of it are not in the cache."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # what its HTTP library raises

    try:
        return download()
    except (HTTPError, OSError) as error:
        cache = Path(constants.HF_HUB_CACHE)
        raise (
            full_cache(error, f"the model {name}", cache, need=missing()) or _refused(error, name, "model")
        ) from error


def _refused(error: BaseException, name: str, kind: str) -> RunnerError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    said = " ".join(str(error).split())[:200] or type(error).__name__
    page = f"{constants.ENDPOINT}/{name}"
    if isinstance(error, GatedRepoError):
        return UserError(f"the {kind} {name} is gated", page, "accept its terms there and set HF_TOKEN")
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"the {kind} {name} has no such revision", page, f"correct {kind.split()[0]}.revision")
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        remedy = "check the id; for a private one set HF_TOKEN"
        return UserError(f"the {kind} {name} was not found", page, remedy)
    remedy = "try again later, or run `runner fetch` on a connected machine and bring the cache here"
    return UserError(f"{constants.ENDPOINT} does not give the {kind} {name} ({said})", page, remedy)


def _missing_bytes(name: str, info: Any) -> int:
    """Of the model's files, how many bytes are not in the cache; what a download that was cut short left counts."""
    from huggingface_hub import constants, try_to_load_from_cache

    missing = [
        file.size or 0
        for file in _files_read(info)
        if not isinstance(try_to_load_from_cache(name, file.rfilename, revision=str(info.sha)), str)
    ]
    blobs = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "blobs"
    begun = sum(path.stat().st_size for path in blobs.glob("*.incomplete"))
    return max(0, sum(missing) - begun)


def _check_room(size: int, name: str) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    folder = next(path for path in (cache, *cache.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DoesNotFit(
            f"the disk is too small for the model {name}: need {mib(size)}, have {mib(free)}",
            f"the cache {cache}",
            "free space, or set HF_HOME to a folder on a larger disk",
        )

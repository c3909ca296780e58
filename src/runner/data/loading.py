"""The calls of ``datasets`` that find and read a split, with what it can refuse told in the project's own errors.

Which set is asked for is left to ``sources`` and ``hub``.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.config.disk import full_cache
from runner.data.rows import Rows
from runner.errors import RunnerError, UserError

UNREADABLE = "the data cannot be read"
SPLIT_FAULTS = ("corresponds to no data", "Split name should match", "slice boundaries", "nrecognized instruction")
_WHOLE_SPLIT = re.compile(r"\w+(\.\w+)*")
_LISTED = re.compile(r"\[(.*)\]", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """One split of one set: ``path`` is a folder, a hub id, or the kind of ``file``; ``name`` says it in messages.

    ``cache`` takes the Arrow copy of local files; None leaves it in the Hugging Face cache.  ``content`` tells that
    copy from one of other bytes: the library knows a file by its path and time alone.  ``refused``: why the hub
    cannot be asked, so that only its cached copy of ``revision`` counts.
    """

    path: str
    config: str | None
    split: str
    name: str
    cache: Path | None = None
    file: Path | None = None
    content: str = ""
    revision: str | None = None
    refused: str = ""

    @property
    def copies(self) -> str | None:
        return str(self.cache / "arrow" / self.content) if self.cache else None


def load_rows(request: Request) -> Rows:
    """The rows of the split, memory-mapped; no column is read yet.

    UserError for an unknown split or configuration (naming those present), unreadable files, and a hub that
    does not answer.
    """
    import datasets

    with _quiet(), _told(request), _cache_only(bool(request.refused)):
        found = datasets.load_dataset(
            request.path,
            request.config,
            split=request.split,
            data_files=_data_files(request),
            cache_dir=request.copies,
            revision=request.revision,
        )
        if request.refused and not all(str(request.revision) in file["filename"] for file in found.cache_files):
            raise unreachable(request.name, f"{request.refused}; another commit is in the cache")
        return Rows(found.data.table, request.name)


def files_of(request: Request) -> list[Path] | None:
    """The files of the split, in the order in which ``load_rows`` reads them; those of the hub brought first.

    None where the split is a part or a sum of splits, or is known only as a copy in the library's cache.
    UserError as for ``load_rows``.
    """
    import datasets

    if request.split == "all" or not _WHOLE_SPLIT.fullmatch(request.split):
        return None
    with _quiet(), _told(request), _cache_only(bool(request.refused)):
        builder = datasets.load_dataset_builder(
            request.path,
            request.config,
            data_files=_data_files(request),
            cache_dir=request.copies,
            revision=request.revision,
        )
        named = builder.config.data_files
        if not named:
            return None
        if request.split not in named:
            raise ValueError(f'Unknown split "{request.split}". Should be one of {list(map(str, named))}.')
        return [Path(file) for file in datasets.DownloadManager().download(list(named[request.split]))]


def _data_files(request: Request) -> dict[str, list[str]] | None:
    return {"train": [str(request.file)]} if request.file else None


@contextmanager
def _cache_only(wanted: bool) -> Iterator[None]:
    """Keeps the library off the network; without it, it retries for 23 s (a silent host: longer) per file."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the library's own reports of failures, and its bars where there is no terminal."""
    import datasets

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    bars = datasets.are_progress_bars_disabled()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()


@contextmanager
def _told(request: Request) -> Iterator[None]:
    import datasets.exceptions
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever HTTP library it uses

    try:
        yield
    except datasets.exceptions.DatasetNotFoundError as error:
        raise not_found(request.name, refusal(error)) from error
    except (HTTPError, ValueError, OSError, datasets.exceptions.DatasetsError, StopIteration, AssertionError) as error:
        raise (_full(error, request) or _in_our_words(error, request)) from error


def _full(error: BaseException, request: Request) -> RunnerError | None:
    from huggingface_hub import constants

    return full_cache(error, f"the data set {request.name}", request.cache or Path(constants.HF_HOME))


def _in_our_words(error: BaseException, request: Request) -> RunnerError:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever HTTP library it uses

    if isinstance(error, ConnectionError | HTTPError):
        return unreachable(request.name, request.refused or refusal(error))
    told = _fault_of(error, request)
    if request.refused and told.what.startswith(UNREADABLE):
        return unreachable(request.name, request.refused)
    return told


def _fault_of(error: BaseException, request: Request) -> UserError:
    text, name = refusal(error), request.name
    listed = _LISTED.search(str(error))
    present = listed.group(1).replace("'", "") if listed else ""
    if "nknown split" in text:
        return UserError(f"split {request.split} does not exist", name, f"data.split is one of: {present}")
    if "BuilderConfig" in text or "Config name is missing" in text:
        return UserError(
            f"configuration {request.config or '(none named)'} does not exist",
            name,
            f"data.config is one of: {present}",
        )
    if any(sign in text for sign in SPLIT_FAULTS):
        remedy = "write a split as train or train[600:974]"
        return UserError(f"split {request.split} cannot be read: {text}", name, remedy)
    root = error.__cause__ or error
    return UserError(f"{UNREADABLE}: {refusal(root)}", name, "check the files, or fetch them again")


def not_found(name: str, why: str) -> UserError:
    """A hub set that is not there, private or gated."""
    repository = name.split(" ")[0]
    return UserError(
        f"the data set {repository} was not found or may not be read: {why}",
        f"https://huggingface.co/datasets/{repository}",
        "check data.id and data.revision; for a gated set accept its terms there and set HF_TOKEN",
    )


def unreachable(name: str, why: str) -> UserError:
    """The hub does not answer and the set is not in the cache."""
    from huggingface_hub import constants

    return UserError(
        f"{constants.ENDPOINT} cannot be reached: {why}",
        f"the data set {name} is not in the cache",
        "run `runner fetch` with this job on a connected machine and bring the cache here, or try later",
    )


def refusal(error: BaseException) -> str:
    """The first line of what ``error`` says, at most 300 characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]

"""Where rows come from: built-in generators, local files and folders, or the Hugging Face hub.

A source is located first (cheap, names its content) and loaded only if nothing prepared is at hand.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from runner.config.job import Data
from runner.data.contents import content_of
from runner.data.hub import commit_of, requests_of_hub
from runner.data.loading import Request, files_of, load_rows, refusal
from runner.data.rows import Rows
from runner.errors import UserError

BUILTIN = "builtin:"
BUILTIN_QUESTIONS, BUILTIN_PROGRAMS = "builtin:questions", "builtin:programs"
DEFAULT_COUNT = 4000  # rows generated when data.questions is null
_SUFFIXES = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".ndjson": "json"}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """A located data set: ``fingerprint`` changes with its content, ``load`` reads it.

    ``load`` gives the rows of data.split, and those of the held-out split if the set has one of its own;
    ``files`` the names and files of these splits, None if files are not what they are made of.
    ``generated``: statements come from templates, so that only equal ones are the same question.
    """

    name: str
    fingerprint: str
    load: Callable[[], tuple[Rows, Rows | None]]
    files: Callable[[], list[tuple[str, list[Path]]] | None] = lambda: None
    generated: bool = False
    commit: str | None = None


def locate(data: Data, cache: Path) -> Source:
    """The source that ``data.id`` names; UserError if there is none."""
    if data.id.startswith(BUILTIN):
        return _builtin(data)
    path = Path(data.id).expanduser()
    if path.exists():
        return _local(data, path.resolve(), cache)
    if path.is_absolute() or data.id.startswith((".", "~")) or path.suffix in _SUFFIXES or not _is_hub_id(data.id):
        raise UserError(
            f"data.id is {data.id}; there is no such file or folder",
            f"looked at {path.absolute()}",
            "give an existing Parquet or JSONL file, a folder of them, or a hub id such as nvidia/OpenCodeReasoning",
        )
    commit = commit_of(data.id, data.revision, cache)
    name = f"{data.id} at {commit.id[:12]}"

    def requests() -> list[Request]:
        return requests_of_hub(data, commit, name)

    return Source(
        name, f"{data.id}@{commit.id}", lambda: _loaded(requests()), lambda: _files(requests()), commit=commit.id
    )


def _loaded(requests: Sequence[Request]) -> tuple[Rows, Rows | None]:
    found = [load_rows(request) for request in requests]
    return found[0], found[1] if len(found) > 1 else None


def _files(requests: Sequence[Request]) -> list[tuple[str, list[Path]]] | None:
    named = []
    for request in requests:
        files = files_of(request)
        if files is None:
            return None
        named.append((request.name, files))
    return named


def _is_hub_id(text: str) -> bool:
    return _HUB_ID.fullmatch(text) is not None


def _builtin(data: Data) -> Source:
    if data.id not in (BUILTIN_QUESTIONS, BUILTIN_PROGRAMS):
        raise UserError(
            f"data.id is {data.id}; no such built-in data set", "data.id", f"{BUILTIN_QUESTIONS} or {BUILTIN_PROGRAMS}"
        )
    generator = import_module("runner.data.questions")
    folder = Path(str(generator.__file__)).parent
    code = hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hexdigest()
    return Source(data.id, code, lambda: _generate(generator, data), generated=True)


def _generate(generator: Any, data: Data) -> tuple[Rows, Rows | None]:
    count = data.questions or DEFAULT_COUNT
    if data.id == BUILTIN_PROGRAMS:
        return _in_memory(generator.programs(count + data.validation_questions, data.seed), data.id), None
    train = _in_memory(generator.rows("train", count, data.seed), f"{data.id} train")
    return train, _in_memory(
        generator.rows("validation", data.validation_questions, data.seed), f"{data.id} validation"
    )


def _in_memory(rows: Iterator[dict[str, str]], name: str) -> Rows:
    return Rows(pa.Table.from_pylist(list(rows)), name)


def _local(data: Data, path: Path, cache: Path) -> Source:
    present = _data_files(path)
    requests = _requests_of_local(data, path, cache)
    files = _files_read(requests, present) if path.is_dir() else present
    for file in files:
        _probe(file)
    root = path if path.is_dir() else path.parent
    cards = [path / "README.md"] if (path / "README.md").is_file() else []
    marks = [f"{os.path.relpath(file, root)} {content_of(file, cache)}" for file in (*files, *cards)]
    content = hashlib.sha256("\n".join(marks).encode()).hexdigest()
    requests = [replace(request, content=content[:16]) for request in requests]
    return Source(data.id, content, lambda: _load_local(requests, path), lambda: _files(requests))


def _files_read(requests: Sequence[Request], present: list[Path]) -> list[Path]:
    """The files of the splits asked for; all that are present where a split is a part or a sum of splits."""
    named = _files(requests)
    return present if named is None else sorted({file for _, files in named for file in files})


def _data_files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise UserError(f"{path} is not a data file", "data.id", f"its name must end in {', '.join(_SUFFIXES)}")
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    visible = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not visible:
        raise UserError(f"{path} holds no data file", "data.id", f"put files ending in {', '.join(_SUFFIXES)} there")
    return visible


def _probe(file: Path) -> None:
    """UserError if the first and last bytes already show that ``file`` is not what its name says."""
    size = file.stat().st_size
    if size == 0:
        raise UserError("the data file is empty", str(file), "fetch it again")
    with file.open("rb") as stream:
        head = stream.read(256)
        stream.seek(max(0, size - 4))
        tail = stream.read(4)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise UserError(
            "the data file holds HTML, not data (often a login or error page that was saved)",
            str(file),
            "fetch it again with the right address and access",
        )
    if file.suffix == ".parquet" and (not head.startswith(b"PAR1") or tail != b"PAR1"):
        what = "is truncated" if head.startswith(b"PAR1") else "is not Parquet"
        raise UserError(f"the Parquet file {what} ({size:,} bytes)", str(file), "fetch it again")


def _requests_of_local(data: Data, path: Path, cache: Path) -> list[Request]:
    def request(split: str) -> Request:
        name = f"{data.id} split {split}"
        if path.is_dir():
            return Request(str(path), data.config, split, name, cache)
        return Request(_SUFFIXES[path.suffix], None, split, name, cache, file=path)

    return [request(split) for split in (data.split, data.validation_split) if split]


def _load_local(requests: Sequence[Request], path: Path) -> tuple[Rows, Rows | None]:
    with _naming_the_file(path):
        return _loaded(requests)


@contextmanager
def _naming_the_file(path: Path) -> Iterator[None]:
    """When reading fails, the broken file is searched for, so that the message names it."""
    try:
        yield
    except UserError:
        for file in _data_files(path):
            fault = _fault_inside(file)
            if fault:
                raise UserError(fault, str(file), "mend or remove it, or fetch it again") from None
        raise


def _fault_inside(file: Path) -> str | None:
    if _SUFFIXES[file.suffix] == "parquet":
        try:
            for _ in pq.ParquetFile(file).iter_batches(batch_size=256):
                pass
        except (pa.ArrowException, OSError) as error:
            return f"the Parquet file is damaged: {refusal(error)}"
        return None
    return _broken_line(file) if file.suffix != ".json" else None


def _broken_line(file: Path) -> str | None:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line) if line.strip() else {}
            except ValueError as error:
                return f"line {number} is not JSON: {error}"
            if not isinstance(row, dict):
                return f"line {number} is not a JSON object"
    return None

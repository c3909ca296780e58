"""The cache folder of one prepared data set: checked before use, published whole or not at all.

What is in it is left to ``shards`` and ``ledger``.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from runner.errors import DoesNotFit

MANIFEST = "MANIFEST.json"


@contextmanager
def locked(cache: Path, key: str) -> Iterator[None]:
    """Holds the set's lock: of several processes one makes it, the others wait and find it made."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{key}.lock"):
        yield


def fault_of(folder: Path) -> str | None:
    """Why ``folder`` cannot be used, None if every file is there with its size and sha256."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is missing or not readable"
    for name, (size, digest) in sorted(expected.items()):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, {size} were written"
        if sha256_of(path) != digest:
            return f"{name} differs from its sha256"
    return None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Replaces the file ``path``, which holds the old text or the new one at every moment."""
    fresh = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        fresh.write_text(text, encoding="utf-8")
        _sync(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def publishing(cache: Path, key: str) -> Iterator[Path]:
    """A fresh folder that becomes ``cache/key``, with its manifest, when the block ends without error.

    Call it with the set's lock held.  Leftovers of a killed process are removed; a full disk is told as
    DoesNotFit and leaves nothing behind.
    """
    for leftover in cache.glob(f"{key}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = cache / f"{key}.tmp-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        yield folder
        _seal(folder)
        target = cache / key
        if target.exists():
            target.rename(cache / f"{key}.tmp-old-{uuid.uuid4().hex}")
        folder.rename(target)
        _sync(cache)
    except OSError as error:
        raise _told(error, cache) from error
    finally:
        for leftover in cache.glob(f"{key}.tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _seal(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = {}
    for path in files:
        _sync(path)
        entries[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"files": entries}, indent=1), encoding="utf-8")
    for path in (manifest, *sorted({file.parent for file in files}), folder):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _told(error: OSError, cache: Path) -> Exception:
    free = shutil.disk_usage(cache).free / 2**20
    return DoesNotFit(
        f"the prepared data could not be written: {error.strerror or error}",
        f"{cache} has {free:,.0f} MiB free",
        "free space there, or choose another cache folder",
    )

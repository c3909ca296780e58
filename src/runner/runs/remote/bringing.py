"""A run of a bucket brought into its folder on this machine: records, checkpoints, weights, each whole or not at all.

Sending is ``sending``'s; who may bring when, ``opening``'s and ``viewing``'s.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runner.errors import TrainingFailed
from runner.runs.durable import discard, partial_name, put_in_place, sync_tree, write_file, write_json
from runner.runs.folder import RunFolder
from runner.runs.manifest import MANIFEST_FILE, Damaged, verified
from runner.runs.remote.layout import (
    JOB_FILE,
    OUTGOING,
    RECORDS,
    WEIGHTS,
    Origin,
    bringing_file,
    forget_origin,
    read_origin,
    records_in,
    step_of,
    write_origin,
    writer_here,
)
from runner.runs.remote.register import Entry
from runner.runs.remote.store import Store


def bring_records(
    store: Store,
    entry: Entry,
    folder: RunFolder,
    *,
    held: Mapping[str, Any] | None = None,
    unless: Callable[[], bool] = lambda: False,
) -> None:
    """Job, state and records of the run into ``folder``, which is made; nothing where ``unless`` says so by then.

    Where an attempt of this very folder was the last, what lies here is newer and stays.  What an attempt left that
    was overtaken elsewhere, goes.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        origin = read_origin(folder.root)
        own = origin is not None and origin.own and origin.attempt == entry.attempt
        if unless() or own or (entry.attempt and writer_here(folder.root) == entry.attempt):
            return  # the writer is told before the bucket hears of its attempt, the origin after
        if origin is None or origin.attempt != entry.attempt:
            clear(folder)
        _bring_records(store, entry, folder)
        write_origin(folder.root, Origin(store.url, entry.attempt, held=held))


def _bring_records(store: Store, entry: Entry, folder: RunFolder) -> None:
    with suppress(FileNotFoundError):
        write_file(folder.job_file, store.read(JOB_FILE))
    if entry.state is not None:
        write_json(folder.state_file, entry.state)
    for key in store.keys(f"{RECORDS}/{entry.attempt}") if entry.attempt else ():
        path = folder.inside(*key.split("/")[2:])
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a newer attempt has just removed it
            write_file(path, store.read(key))
            if path == folder.metrics_file:  # by which a run is said to have changed
                changed = store.modified(key).timestamp()
                os.utime(path, (changed, changed))


def set_aside(folder: RunFolder) -> None:
    """The copy of a run that the bucket has no more is kept, where no run is looked for."""
    if folder.job_file.is_file():
        aside = folder.root.parent / ".aside"
        aside.mkdir(exist_ok=True)
        folder.root.rename(aside / f"{folder.name}-{time.time_ns()}")
    elif folder.root.is_dir():
        shutil.rmtree(folder.root)


def clear(folder: RunFolder) -> None:
    """Remove from a folder everything that is mirrored; evaluations, exports and pages made here stay."""
    forget_origin(folder.root)
    for path in records_in(folder):
        path.unlink(missing_ok=True)
    for name in ("checkpoints", "tensorboard", "ray", OUTGOING, *WEIGHTS):
        if folder.inside(name).is_dir():
            discard(folder.inside(name))


def bring_newest_checkpoint(store: Store, entry: Entry, folder: RunFolder) -> tuple[str, ...]:
    """The newest published checkpoint that is whole, unless it lies here; a line for each that was passed over."""
    skipped = []
    for name in sorted((name for name in entry.folders if step_of(name) >= 0), key=step_of, reverse=True):
        try:
            bring_folder(store, entry, folder, name)
        except Damaged as reason:
            skipped.append(f"{name} of {store.url} skipped: {reason}")
            continue
        break
    return tuple(skipped)


def bring_folder(store: Store, entry: Entry, folder: RunFolder, name: str) -> None:
    """A published folder, unless the same lies here whole; ``Damaged`` where what comes is not what was sent."""
    target, place = folder.inside(*name.split("/")), entry.folders.get(name)
    if place is None:
        return
    try:
        manifest = store.read(f"{place}/{MANIFEST_FILE}")
    except FileNotFoundError as error:
        raise Damaged(f"{MANIFEST_FILE} is missing") from error
    with _alone(folder):
        if _same(target, manifest):
            return
        partial = partial_name(target)
        try:
            _bring_files(store, place, manifest, partial)
            verified(partial)
            sync_tree(partial)
            put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _bring_files(store: Store, place: str, manifest: bytes, partial: Path) -> None:
    partial.mkdir(parents=True)
    try:
        sizes = {str(name): int(entry["bytes"]) for name, entry in json.loads(manifest)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{MANIFEST_FILE} is no JSON") from error
    inner = RunFolder(partial.resolve())
    for name, size in sizes.items():
        try:
            store.get(f"{place}/{name}", inner.inside(*name.split("/")), size)
        except FileNotFoundError as error:
            raise Damaged(f"{name} is missing") from error
    (partial / MANIFEST_FILE).write_bytes(manifest)


def _same(target: Path, manifest: bytes) -> bool:
    try:
        verified(target)
        return (target / MANIFEST_FILE).read_bytes() == manifest
    except (Damaged, OSError):
        return False


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """One process of a machine brings at a time: the others find what it has brought."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(bringing_file(folder.root.parent, folder.name), timeout=3600.0):
            yield
    except Timeout as error:
        raise TrainingFailed(
            "another process of this machine has been bringing a checkpoint for an hour",
            str(folder.root),
            "end it, and run the command again",
        ) from error

"""Runs of a bucket looked at from any machine: brought into the cache as they are now, never claimed.

Rights to read are enough.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from runner.errors import TrainingFailed, UserError
from runner.runs.folder import RunFolder, check_name
from runner.runs.lock import is_held
from runner.runs.manifest import Damaged
from runner.runs.remote.bringing import bring_folder, bring_records, set_aside
from runner.runs.remote.claim import STALE_S, silence
from runner.runs.remote.evaluations import bring_evaluations
from runner.runs.remote.layout import copies, lock_file
from runner.runs.remote.register import Entry, Register
from runner.runs.remote.store import Store, check_package


def view_all(url: str, cache: Path) -> Path:
    """The folder on this machine with a copy of the records of every run under ``url``; of no others."""
    check_package(url)
    store, root = Store(url), copies(cache, url)
    names = [name for name in store.names() if _is_name(name)]
    for name in names:
        _view(store.under(name), root, name)
    for job_file in sorted(root.glob("*/job.yaml")):
        if job_file.parent.name not in names:
            set_aside(RunFolder(job_file.parent))
    return root


def view(url: str, cache: Path, name: str, *, with_folders: Sequence[str] = ()) -> Path:
    """The folder on this machine with a copy of the run ``name``: records, evaluations, the folders asked for.

    A run that is being trained here is left as it is.  ``UserError`` if there is none of this name.
    """
    check_package(url)
    check_name(name)
    store, root = Store(url), copies(cache, url)
    entry = _view(store.under(name), root, name)
    if entry.number == 0:
        present = ", ".join(known for known in store.names() if _is_name(known))
        there = f"the runs there: {present}" if present else "there is none yet"
        raise UserError(f"there is no run {name}", f"{url} ({there})", "give one of them, or another --storage")
    bring_evaluations(store.under(name), RunFolder.at(root, name))
    if not is_held(lock_file(root, name)):
        for wanted in with_folders:
            _bring(store.under(name), entry, RunFolder.at(root, name), wanted)
    return root


def _view(store: Store, root: Path, name: str) -> Entry:
    entry, claimed = Register(store).newest(), lock_file(root, name)
    if entry.number == 0 or entry.state is None:
        return Entry()
    holder = entry.holder
    if holder is not None and silence(store, holder, now=datetime.now(UTC)) > STALE_S:
        holder = None
    held = {"host": holder.host, "pid": holder.pid, "since": holder.since} if holder else None
    bring_records(store, entry, RunFolder.at(root, name), held=held, unless=lambda: is_held(claimed))
    return entry


def _bring(store: Store, entry: Entry, folder: RunFolder, name: str) -> None:
    try:
        bring_folder(store, entry, folder, name)
    except Damaged as reason:
        raise TrainingFailed(
            f"{name} is not what was sent: {reason}", store.url, "try again; if a run is in training it has changed"
        ) from reason


def _is_name(name: str) -> bool:
    with suppress(UserError):
        check_name(name)
        return True
    return False

"""Evaluations of a run, sent into its bucket from wherever they were made, and brought to where they are looked at.

They have a register of their own, so that whoever may write there may add one, also while the run trains.
"""

from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from runner.runs.environment import package_versions
from runner.runs.folder import RunFolder
from runner.runs.manifest import MANIFEST_FILE, Damaged, Manifest, verified, write_manifest
from runner.runs.remote.bringing import bring_folder
from runner.runs.remote.layout import read_origin
from runner.runs.remote.register import Entry, Register
from runner.runs.remote.store import Store

EVALUATIONS = "evaluations"


def send_evaluation(folder: RunFolder, name: str) -> str | None:
    """Where in its bucket the evaluation ``name`` of the run in ``folder`` lies now, in the place of an earlier one.

    None where the run is kept in a folder; ``StorageFault`` where the bucket does not take it.
    """
    origin = read_origin(folder.root)
    if origin is None:
        return None
    store, local, title = Store(origin.url), folder.inside(EVALUATIONS, name), f"{EVALUATIONS}/{name}"
    (local / MANIFEST_FILE).unlink(missing_ok=True)
    write_manifest(local, Manifest(0, 0, {}, package_versions()))
    place, replaced = f"{title}-{uuid4().hex[:8]}", set[str]()
    for path in sorted(local.iterdir()):
        store.put(path, f"{place}/{path.name}")

    def published(entry: Entry) -> Entry:
        if (old := entry.folders.get(title, place)) != place:
            replaced.add(old)
        return replace(entry, folders={**entry.folders, title: place})

    Register(store.under(EVALUATIONS)).advance(published)
    for old in replaced:
        store.delete(store.keys(old))
    return f"{origin.url}/{place}"


def bring_evaluations(store: Store, folder: RunFolder) -> None:
    """The newest evaluations of the run in ``store``; one that was made here and not sent stays."""
    entry = Register(store.under(EVALUATIONS)).newest()
    for title in entry.folders:
        here = folder.inside(*title.split("/"))
        try:
            if here.exists():
                verified(here)
        except Damaged:
            continue
        here.parent.mkdir(exist_ok=True)
        with suppress(Damaged):  # another has just taken its place
            bring_folder(store, entry, folder, title)

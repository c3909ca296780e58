"""A run of a bucket opened to be trained: claimed, brought to this machine, and its state kept there.

Which run of a name is meant, and whether it is the same job, is decided by ``runs.opening`` in the local folder.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast
from uuid import uuid4

from runner.errors import UserError
from runner.runs.durable import JSON
from runner.runs.folder import RunFolder
from runner.runs.lock import RunInUse
from runner.runs.opening import JobRecord, OpenRun, Resume, names_from, open_run
from runner.runs.remote.bringing import bring_records, set_aside
from runner.runs.remote.claim import Claim, held_by
from runner.runs.remote.faults import Refused, StorageFault
from runner.runs.remote.layout import DRIVER_FILE, JOB_FILE, STOP_KEY, Origin, copies, lock_file, write_origin
from runner.runs.remote.patience import patiently
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store, check_package
from runner.runs.state import RunState, State

LAST_WORDS_S = 60.0  # for which the end of a run is tried to be told


@dataclass
class RemoteRun(OpenRun):
    """A run of a bucket and its folder on this machine, held against other machines too."""

    claim: Claim
    store: Store

    @property
    def place(self) -> str:
        """The run's URL."""
        return self.store.url

    @property
    def holder(self) -> str:
        """By which workers and launcher know that they belong together."""
        return self.claim.holder.identity

    def record(self, state: State, *, step: int, steps: int, reason: str = "") -> None:
        """As for a folder, and in the bucket; ``StaleAttempt`` if another process has the run now."""
        super().record(state, step=step, steps=steps, reason=reason)
        self._tell()

    def ask_to_stop(self) -> bool:
        """Tell workers on other machines to save and end; False where the store does not answer."""
        try:
            self.store.write(f"{STOP_KEY}/{self.holder}", b"")
        except StorageFault:
            return False
        return True

    def check_held(self) -> None:
        """``TakenOver`` if another process has the run now; ``DoesNotFit`` if the store does not answer for long."""
        register, kept_in = self.claim.register, str(self.folder.root)
        held_by(patiently(register.newest, give_up_s=LAST_WORDS_S, kept_in=kept_in), self.holder, self.store)

    def close(self) -> None:
        """Let other processes in, here and elsewhere."""
        super().close()
        with suppress(StorageFault):
            self.store.delete([f"{STOP_KEY}/{self.holder}"])
        self.claim.release()

    def _tell(self) -> None:
        tell_state(self.claim, self.state, self.folder)


def tell_state(claim: Claim, state: RunState, folder: RunFolder) -> None:
    """Let the bucket say how far what ``claim`` holds is; ``StaleAttempt`` if another process has it now."""
    values = cast("dict[str, JSON]", asdict(state))
    patiently(
        lambda: claim.change(lambda entry: replace(entry, state=values)),
        give_up_s=LAST_WORDS_S,
        kept_in=str(folder.root),
    )


def bring_claimed(claim: Claim, store: Store, folder: RunFolder) -> None:
    """The records of what ``claim`` holds, in ``folder``; a copy that the bucket has nothing of goes out of the way."""
    if claim.entry.state is None:
        set_aside(folder)
    else:
        bring_records(store, claim.entry, folder)


def check_storage(url: str) -> None:
    """``UserError`` within seconds unless runs can be kept under ``url``: endpoint, credentials, bucket, rights.

    Also where the store lets two writers make the same object: a run could then be trained twice at once.
    """
    check_package(url)
    store, key = Store(url), f".checks/{uuid4().hex}"
    try:
        store.create(key, b"")
        exclusive = not store.create(key, b"")
        store.read(key)
        store.keys(".checks")
    finally:
        with suppress(StorageFault):
            store.delete([key])
    if not exclusive:
        raise Refused(
            "the storage takes no conditional writes (If-None-Match), by which a run is held by one process",
            url,
            "use a newer version of it, or a folder",
        )


def open_remote_run(url: str, name: str, *, job: JobRecord, resume: Resume, cache: Path) -> RemoteRun:
    """As ``open_run``, for a run under ``url``; its folder lies in ``cache``, with what the bucket has of it.

    ``StorageFault``, a ``UserError``, where the store does not answer or refuses.
    """
    root, store = copies(cache, url), Store(url)
    root.mkdir(parents=True, exist_ok=True)
    if resume != "never":
        if resume == "must" and Register(store.under(name)).newest().state is None:
            raise UserError(f"there is no run {name} to resume", url, "start it with --resume auto")
        return _opened(store.under(name), root, name, job)
    for candidate in names_from(name):
        try:
            if Register(store.under(candidate)).newest().state is None:
                return _opened(store.under(candidate), root, candidate, job)
        except RunInUse:
            continue  # another start was quicker
    raise AssertionError("names never end")


def _opened(store: Store, root: Path, name: str, job: JobRecord) -> RemoteRun:
    folder = RunFolder.at(root, name)
    claim = Claim(store, lock_file(root, name))
    try:
        bring_claimed(claim, store, folder)
        opened = open_run(root, name, job=job, resume="auto")
        run = RemoteRun(folder, opened.status, opened.state, opened.lock, claim, store)
        try:
            (folder.root / DRIVER_FILE).write_text(run.holder)
            if run.status == "new":
                write_origin(folder.root, Origin(store.url, claim.entry.attempt))
                store.write(JOB_FILE, folder.job_file.read_bytes())
            run._tell()  # also where it is finished: that may have reached this machine alone
        except BaseException:
            opened.close()
            raise
    except BaseException:
        claim.release()
        raise
    return run

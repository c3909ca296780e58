"""A search kept in a bucket: its folder on this machine is a copy, sent as it grows, which any machine can go on from.

The folder holds records alone, so that it is sent as the records of a run are; trials need nothing of the bucket.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.storage import is_url
from runner.distributed.kept import check_copies
from runner.errors import UserError
from runner.runs import RunFolder
from runner.runs.remote.claim import Claim
from runner.runs.remote.layout import DRIVER_FILE, JOB_FILE, Origin, copies, lock_file, write_origin
from runner.runs.remote.opening import bring_claimed, tell_state
from runner.runs.remote.register import Register
from runner.runs.remote.sending import Sender
from runner.runs.remote.store import Store
from runner.runs.state import State
from runner.search.folder import OpenSearch, SearchFolder, open_search
from runner.search.space import Space


@dataclass
class BucketSearch(OpenSearch):
    """A search of a bucket and its folder on this machine, held against other machines too.

    ``sender`` is None where nothing is left to do, and so nothing to send.
    """

    claim: Claim
    store: Store
    sender: Sender | None = None

    @property
    def place(self) -> str:
        """The search's URL."""
        return self.store.url

    @property
    def must_stop(self) -> bool:
        """Whether another process has taken the search over, or the bucket takes nothing any more."""
        return self.claim.lost or (self.sender is not None and self.sender.must_stop())

    def check_seen(self, nodes: Sequence[dict[str, Any]]) -> None:
        """Each node has a folder of its own; only this process reads and writes the bucket."""
        check_copies(self.folder.root, nodes)

    def grown(self) -> None:
        """Send the journal without waiting for the next look at it."""
        if self.sender is not None:
            self.sender.grown()

    def record(self, state: State, *, done: int, trials: int, reason: str = "") -> None:
        """As for a folder, and in the bucket, where everything else lies by then.

        ``StaleAttempt`` if another process has the search now, ``DoesNotFit`` if the bucket takes nothing any more.
        """
        if self.sender is not None and state == "failed":
            self.sender.last_words()
        elif self.sender is not None:
            self.sender.finish(hurry=state == "stopped")
        super().record(state, done=done, trials=trials, reason=reason)
        self.tell()

    def close(self) -> None:
        """Let other processes in, here and elsewhere."""
        super().close()
        if self.sender is not None:
            self.sender.last_words()
        self.claim.release()

    def begin_sending(self, *, patience_s: float) -> None:
        """What lies here is from now on the newest, and follows into the bucket."""
        root = self.folder.root
        (root / DRIVER_FILE).write_text(self.claim.holder.identity)
        write_origin(root, Origin(self.store.url, self.claim.entry.attempt, own=True))
        sender = Sender(self.store, RunFolder(root), holder=self.claim.holder.identity, keep=1, patience_s=patience_s)
        sender.begin()
        self.sender = sender
        self.store.write(JOB_FILE, self.folder.job_file.read_bytes())

    def tell(self) -> None:
        """Let the bucket say how far the search is; ``StaleAttempt`` if another process has it now."""
        tell_state(self.claim, self.state, RunFolder(self.folder.root))


def open_kept_search(storage: str, space: Space, *, resume: bool, cache: Path, patience_s: float) -> OpenSearch:
    """``open_search`` in the folder or the bucket that ``storage`` names; its copy lies in ``cache``.

    A bucket that does not answer is tried again for ``patience_s`` seconds while the search runs; at its start
    ``StorageFault``, a ``UserError``, is raised.
    """
    if not is_url(storage):
        return open_search(Path(storage), space, resume=resume)
    root, store = copies(cache, storage), Store(storage).under(space.search.name)
    root.mkdir(parents=True, exist_ok=True)
    if resume and Register(store).newest().state is None:
        raise UserError(f"there is no search {space.search.name} to resume", storage, "leave out --resume")
    claim = Claim(store, lock_file(root, space.search.name))
    try:
        return _opened(claim, store, root, space, resume=resume, patience_s=patience_s)
    except BaseException:
        claim.release()
        raise


def _opened(claim: Claim, store: Store, root: Path, space: Space, *, resume: bool, patience_s: float) -> BucketSearch:
    folder = RunFolder.at(root, space.search.name)
    bring_claimed(claim, store, folder)
    opened = open_search(root, space, resume=resume)
    search = BucketSearch(opened.folder, opened.journal, opened.state, opened.finished, opened.lock, claim, store)
    try:
        if not search.finished:
            search.begin_sending(patience_s=patience_s)
        search.tell()
    except BaseException:
        opened.close()
        raise
    return search


def is_kept(storage: str, name: str) -> bool:
    """Whether a search stands under ``name`` in the folder or the bucket ``storage``, finished or not."""
    if is_url(storage):
        return Register(Store(storage).under(name)).newest().state is not None
    return SearchFolder(RunFolder.at(Path(storage), name).root).search_file.is_file()

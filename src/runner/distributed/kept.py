"""A launch, its workers, and where the run is kept: what differs between a folder that all see and a bucket.

How a run lies in a bucket is ``runner.runs.remote``'s.
"""

import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from runner.config.cluster import Cluster
from runner.config.storage import is_url
from runner.distributed.every_node import ask_each
from runner.distributed.shared_folder import check_seen_by_all
from runner.errors import RunnerError, UserError
from runner.runs import STOP_FILE, JobRecord, OpenRun, Resume, RunFolder, open_run

STOP_POLL_S = 0.5

Fault: TypeAlias = tuple[str, str, str]  # what, where, remedy


def open_kept_run(storage: str, name: str, *, job: JobRecord, resume: Resume, cache: Path) -> OpenRun:
    """``open_run`` in the folder or the bucket that ``storage`` names."""
    if not is_url(storage):
        return open_run(Path(storage), name, job=job, resume=resume)
    from runner.runs.remote.opening import open_remote_run

    return open_remote_run(storage, name, job=job, resume=resume, cache=cache)


@dataclass(frozen=True)
class Bucket:
    """What workers must know of a run in a bucket: its URL, who holds it, how long to try one that does not answer.

    ``joined``: they and the launcher may be on different machines, as on a Ray cluster that was not started here.
    """

    url: str
    holder: str
    patience_s: float
    joined: bool = False


def bucket_of(run: OpenRun, cluster: Cluster) -> Bucket | None:
    """The bucket in which ``run`` is kept; None for one in a folder."""
    from runner.runs.remote.opening import RemoteRun

    if not isinstance(run, RemoteRun):
        return None
    return Bucket(run.store.url, run.holder, cluster.storage_patience_s, joined=cluster.address is not None)


def check_seen(run: OpenRun, nodes: Sequence[dict[str, Any]]) -> None:
    """``UserError`` unless all ``nodes`` reach where the run is kept."""
    from runner.runs.remote.opening import RemoteRun

    if not isinstance(run, RemoteRun):
        check_seen_by_all(run.folder.root, nodes)
    elif len(nodes) > 1:
        _check_reached_by_all(run.store.url, run.folder.root, nodes)


def check_still_ours(run: OpenRun) -> None:
    """``StaleAttempt`` that names the other one, if another process has taken over the run.

    ``DoesNotFit`` where the bucket that would tell it does not answer.
    """
    from runner.runs.remote.opening import RemoteRun

    if isinstance(run, RemoteRun):
        run.check_held()


@contextmanager
def linked(run: OpenRun, *, joined: bool) -> Iterator[None]:
    """Within the block a launcher and workers on other machines hear of each other through the bucket, if it is one.

    ``joined``: they may be on other machines, as on a Ray cluster that was not started here.
    """
    from runner.runs.remote.opening import RemoteRun
    from runner.runs.remote.receiving import News

    if not isinstance(run, RemoteRun):
        yield
        return
    over, stop_file = threading.Event(), run.folder.inside(STOP_FILE)

    def pass_on() -> None:
        asked = False
        while not over.wait(STOP_POLL_S):
            if run.claim.lost:
                stop_file.touch()
            if joined and not asked and stop_file.exists():
                asked = run.ask_to_stop()

    news = News(run.store, run.folder, before=run.claim.entry.attempt)
    passing = threading.Thread(target=pass_on, name="stop", daemon=True)
    passing.start()
    if joined:
        news.start()
    try:
        yield
    finally:
        over.set()
        passing.join()
        if joined:
            news.stop()


class Mirror(Protocol):
    """What a worker of a run in a bucket does beside training.

    ``skipped`` has a line for each checkpoint of the bucket that was passed over.
    """

    skipped: tuple[str, ...]

    def resumed(self, step: int) -> None:
        """The run goes on after ``step``; its checkpoint lies in this machine's folder on return."""

    def saved(self, step: int) -> None:
        """The checkpoint after ``step`` is durable here."""

    def must_stop(self) -> bool:
        """Whether it is no use to go on."""

    def finish(self, *, hurry: bool) -> None:
        """Everything is sent on return."""

    def last_words(self) -> None:
        """How it ended is sent, as far as it goes."""


def mirror_of(bucket: Bucket | None, folder: RunFolder, *, keep: int, leads: bool) -> Mirror | None:
    """This rank's part in keeping the run in its bucket, begun; None where it is kept in a folder."""
    if bucket is None:
        return None
    from runner.runs.remote.receiving import Receiver
    from runner.runs.remote.sending import Sender
    from runner.runs.remote.store import Store, check_package

    check_package(bucket.url)
    folder.root.mkdir(parents=True, exist_ok=True)  # on a machine where nothing was launched
    store = Store(bucket.url)
    if not leads:
        return Receiver(store, folder, patience_s=bucket.patience_s)
    sender = Sender(store, folder, holder=bucket.holder, keep=keep, patience_s=bucket.patience_s)
    sender.begin()
    return sender


def _check_reached_by_all(url: str, folder: Path, nodes: Sequence[dict[str, Any]]) -> None:
    """As ``check_seen_by_all``; on every node the run's copy lies in ``folder``."""

    def fault_there(url: str) -> Fault | None:
        return fault_of_machine(url, folder)

    _refuse(ask_each(nodes, fault_there, url))


def check_copies(folder: Path, nodes: Sequence[dict[str, Any]]) -> None:
    """``UserError`` unless ``folder`` can be made and written to on all ``nodes``, each its own."""

    def fault_there(path: str) -> Fault | None:
        return _fault_of_copy(Path(path))

    _refuse(ask_each(nodes, fault_there, str(folder)))


def _refuse(answers: Iterable[tuple[dict[str, Any], Fault | None]]) -> None:
    for node, fault in answers:
        if fault is not None:
            what, where, remedy = fault
            raise UserError(f"on node {node['NodeManagerAddress']}: {what}", where, remedy)


def fault_of_machine(url: str, folder: Path) -> Fault | None:
    """What keeps a run under ``url``, whose copy is to lie in ``folder``, from being trained here; None for nothing."""
    from runner.runs.remote.opening import check_storage

    try:
        check_storage(url)
    except RunnerError as error:
        return error.what, error.where, error.remedy
    return _fault_of_copy(folder)


def _fault_of_copy(folder: Path) -> Fault | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        what = f"the copy of what is kept in a bucket cannot be written ({error.strerror})"
        return what, str(folder), "let the user of the cluster write there, or start it there with `runner submit`"
    return None

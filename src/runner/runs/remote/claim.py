"""A run of a bucket held by one process at a time, between machines: taken, kept alive by a heartbeat, let go, lost.

What is promised: of several that start exactly one gets the run, and one that was taken for dead publishes nothing
more, however long it slept.  What is not: a process that was cut off from the store for ``STALE_S`` and lives on trains
until it notices; its steps since are lost.  Ages are told by the clock of the store alone.
"""

import os
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from runner.runs.attempt import StaleAttempt
from runner.runs.lock import RunInUse, RunLock
from runner.runs.remote.faults import StorageFault
from runner.runs.remote.register import Change, Entry, Holder, Register
from runner.runs.remote.store import Store

BEAT_S = 10.0
STALE_S = 60.0
_BEATS = "heartbeats"


class TakenOver(StaleAttempt):
    """Another process has the run now; this one must publish nothing more."""


class Claim:
    """The run of ``store``, held from construction to ``release``; ``RunInUse`` that names the holder if it has one.

    ``lock_file`` is locked as long as the claim is: on this machine nobody has to wait for a holder that died.
    """

    def __init__(self, store: Store, lock_file: Path) -> None:
        self._store = store
        self.register = Register(store)
        self._lock = RunLock(lock_file)
        try:
            self.holder = _holder(lock_file)
            self._beat()
            self.entry = self.register.advance(self._taken)
            _forget_beats(store, keep=self.holder.identity)
        except BaseException:
            self._lock.release()
            raise
        self._over = threading.Event()
        self.lost = False
        self._thread = threading.Thread(target=self._keep, name="heartbeat", daemon=True)
        self._thread.start()

    def change(self, change: Change) -> Entry:
        """Let ``change`` of the entry hold; ``TakenOver`` if another has the run."""
        return self.register.advance(lambda entry: change(held_by(entry, self.holder.identity, self._store)))

    def release(self) -> None:
        """Let the next one in; where the store does not answer it has to wait until the heartbeat is stale."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        try:
            with suppress(StorageFault, TakenOver):
                self.change(lambda entry: replace(entry, holder=None))
                self._store.delete([_beat_key(self.holder.identity)])
        finally:
            self._lock.release()

    def _taken(self, entry: Entry) -> Entry:
        holder = entry.holder
        if holder is None or holder.identity == self.holder.identity or holder.place == self.holder.place:
            return replace(entry, holder=self.holder)
        silent = silence(self._store, holder, now=self._store.modified(_beat_key(self.holder.identity)))
        if silent > STALE_S:
            return replace(entry, holder=self.holder)
        self._store.delete([_beat_key(self.holder.identity)])
        raise RunInUse(
            f"the run {self._store.url.rpartition('/')[2]} is in use by {holder}, last heard of {silent:.0f} s ago",
            self._store.url,
            f"wait until it ends or stop it; if it is dead, try again in {STALE_S - silent + 1:.0f} s",
        )

    def _keep(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(StorageFault, FileNotFoundError):  # the next beat may find the store again
                self._beat()
                holder = self.register.newest().holder
                self.lost = holder is None or holder.identity != self.holder.identity
                if self.lost:
                    return

    def _beat(self) -> None:
        self._store.write(_beat_key(self.holder.identity), datetime.now(UTC).isoformat().encode())


def held_by(entry: Entry, identity: str, store: Store) -> Entry:
    """``entry``; ``TakenOver`` unless the holder with ``identity`` has the run."""
    if entry.holder is None or entry.holder.identity != identity:
        raise TakenOver(
            f"the run has been taken over by {entry.holder or 'another process, which has ended'}",
            store.url,
            "nothing to do: the other one goes on from the last checkpoint that was sent",
        )
    return entry


def silence(store: Store, holder: Holder, *, now: datetime) -> float:
    """Seconds since ``holder`` was last heard of; endless if it never was."""
    try:
        return max(0.0, (now - store.modified(_beat_key(holder.identity))).total_seconds())
    except FileNotFoundError:
        return float("inf")


def _holder(lock_file: Path) -> Holder:
    facts, boot = lock_file.stat(), Path("/proc/sys/kernel/random/boot_id")
    machine = boot.read_text().strip() if boot.exists() else socket.gethostname()
    place = f"{machine}:{facts.st_dev}:{facts.st_ino}"
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(uuid4().hex, socket.gethostname(), os.getpid(), since, place)


def _forget_beats(store: Store, *, keep: str) -> None:
    """Remove the heartbeats of those that are no longer waited for, but for starts of this moment."""
    now = store.modified(_beat_key(keep))
    for key in store.keys(_BEATS):
        with suppress(FileNotFoundError):
            if key != _beat_key(keep) and (now - store.modified(key)).total_seconds() > STALE_S:
                store.delete([key])


def _beat_key(identity: str) -> str:
    return f"{_BEATS}/{identity}"

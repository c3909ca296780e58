"""A run's folder sent to its bucket while it trains: checkpoints and weights whole, then named; records as they grow.

It runs in a thread of the process that writes the folder.  What is sent is a second name of the same files, so that
training neither waits nor prunes them away.  Fetching is ``bringing``'s.
"""

import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from runner.errors import RunnerError, TrainingFailed
from runner.runs.attempt import StaleAttempt
from runner.runs.durable import discard, partial_name
from runner.runs.folder import STOP_FILE, RunFolder
from runner.runs.manifest import MANIFEST_FILE, Damaged, verified
from runner.runs.remote.bringing import bring_newest_checkpoint, bring_records
from runner.runs.remote.claim import held_by
from runner.runs.remote.faults import StorageFault
from runner.runs.remote.layout import (
    DRIVER_FILE,
    OUTGOING,
    RECORDS,
    STOP_KEY,
    WEIGHTS,
    Origin,
    pruned,
    records_in,
    step_of,
    tell_writer,
    write_origin,
)
from runner.runs.remote.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, given_up, patiently
from runner.runs.remote.register import Entry, Register
from runner.runs.remote.store import Store

RECORDS_S = 10.0  # between two looks at what has grown
HURRY_S = 20.0  # for which a stopped run waits for a store that does not answer


class Sender:
    """The sending half of one attempt of the run in ``store``, which the holder with the identity ``holder`` has.

    A store that does not answer is tried again for ``patience_s`` seconds; ``keep`` checkpoints stay there.

    ``trouble`` is what keeps anything more from being sent: the run must end then, and ``finish`` raises it.
    """

    def __init__(self, store: Store, folder: RunFolder, *, holder: str, keep: int, patience_s: float) -> None:
        self.trouble: RunnerError | None = None
        self.skipped: tuple[str, ...] = ()
        self._store, self._folder, self._holder, self._keep = store, folder, holder, keep
        self._patience_s = patience_s
        self._register = Register(store)
        self._attempt = uuid4().hex
        self._sent: dict[Path, tuple[int, int]] = {}
        self._seals: dict[str, bytes] = {}
        self._waiting: dict[str, Path] = {}
        self._current: tuple[str, Path] | None = None
        self._guard = threading.Lock()
        self._wake, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_sending, name="sending", daemon=True)

    def begin(self) -> None:
        """Bring the run here, make this attempt the one that may publish, and send what an earlier one has not.

        ``StaleAttempt`` if another holder has the run; ``DoesNotFit`` if the store does not answer for long.
        """
        patiently(self._begin, give_up_s=self._patience_s, kept_in=str(self._folder.root))
        patiently(self._pass, give_up_s=self._patience_s, kept_in=str(self._folder.root))
        self._thread.start()

    def resumed(self, step: int) -> None:
        """What is gone on from lies here: ``begin`` has brought it."""

    def saved(self, step: int) -> None:
        """The checkpoint after ``step`` is durable here: it and a new best go out next."""
        self._stage_changed(("best",))
        self._stage(f"checkpoints/step-{step:06d}")
        self._wake.set()

    def grown(self) -> None:
        """A record has grown that should not wait for the next look at them."""
        self._wake.set()

    def must_stop(self) -> bool:
        """Whether nothing can be sent any more: to train on would be for nothing."""
        return self.trouble is not None

    def finish(self, *, hurry: bool) -> None:
        """Everything is in the bucket on return; ``DoesNotFit`` if it does not take it, or what ``trouble`` says."""
        self._halt()
        if self.trouble is not None:
            raise self.trouble
        self._stage_changed(WEIGHTS)
        give_up_s = min(HURRY_S, self._patience_s) if hurry else self._patience_s
        patiently(self._pass, give_up_s=give_up_s, kept_in=str(self._folder.root))

    def last_words(self) -> None:
        """Send the records once more, as far as it goes: how the run ended is among them."""
        self._halt()
        if self.trouble is None:
            with suppress(StorageFault):
                self._send_records()

    def _halt(self) -> None:
        self._over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _begin(self) -> None:
        entry, places = self._register.newest(), self._places()
        held_by(entry, self._holder, self._store)
        bring_records(self._store, entry, self._folder)
        self.skipped = bring_newest_checkpoint(self._store, entry, self._folder)
        self._send_records()
        tell_writer(self._folder.root, self._attempt)
        before = entry.attempt
        entry = self._register.advance(
            lambda now: replace(self._ours(now, before, self._attempt), attempt=self._attempt)
        )
        write_origin(self._folder.root, Origin(self._store.url, self._attempt, own=True))
        # what earlier attempts had not published by then they never can; of later ones nothing had been there
        self._remove(places - set(entry.folders.values()))
        self._stage_unsent(entry)

    def _ours(self, entry: Entry, *attempts: str) -> Entry:
        """``entry``; ``StaleAttempt`` unless this launch has the run, and one of ``attempts`` is the newest of it."""
        held_by(entry, self._holder, self._store)
        if entry.attempt not in attempts:
            raise StaleAttempt("a newer attempt of the run began", self._store.url, "nothing to do: that one goes on")
        return entry

    def _places(self) -> set[str]:
        """Every folder in the bucket that files were sent to, published or not."""
        keys = [key for name in ("checkpoints", *WEIGHTS, RECORDS) for key in self._store.keys(name)]
        mine = f"{RECORDS}/{self._attempt}"
        return {"/".join(key.split("/")[:2]) for key in keys} - {mine}

    def _remove(self, places: set[str]) -> None:
        for place in sorted(places):
            self._store.delete(self._store.keys(place))

    def _stage_unsent(self, entry: Entry) -> None:
        """What lies here whole and is not, or not the same, in the bucket; older checkpoints first."""
        shutil.rmtree(self._folder.inside(OUTGOING), ignore_errors=True)
        self._waiting.clear()
        steps = sorted(path.name for path in self._folder.checkpoints.glob("step-*"))
        for name in (*WEIGHTS, *(f"checkpoints/{step}" for step in steps if step_of(f"checkpoints/{step}") >= 0)):
            seal = self._seal(name)
            with suppress(Damaged, OSError, FileNotFoundError):
                verified(self._folder.inside(*name.split("/")))
                place = entry.folders.get(name)
                if place is not None and self._store.read(f"{place}/{MANIFEST_FILE}") == seal:
                    self._seals[name] = seal
                    continue
                self._link(name, seal)

    def _stage_changed(self, names: tuple[str, ...]) -> None:
        for name in names:
            if (seal := self._seal(name)) and seal != self._seals.get(name):
                self._stage(name)

    def _stage(self, name: str) -> None:
        """Put ``name`` last in the row; a checkpoint that still waits there is not sent any more."""
        if step_of(name) >= 0:
            with self._guard:
                late = [self._waiting.pop(other) for other in list(self._waiting) if step_of(other) >= 0]
            for path in late:
                discard(path)
        self._link(name, self._seal(name))

    def _link(self, name: str, seal: bytes) -> None:
        source, target = self._folder.inside(*name.split("/")), self._folder.inside(OUTGOING, uuid4().hex)
        partial = partial_name(target)
        shutil.copytree(source, partial, copy_function=_link_or_copy)
        partial.rename(target)
        with self._guard:
            if name in self._waiting:
                discard(self._waiting.pop(name))
            self._waiting[name] = target
            self._seals[name] = seal

    def _seal(self, name: str) -> bytes:
        try:
            return (self._folder.inside(*name.split("/")) / MANIFEST_FILE).read_bytes()
        except OSError:
            return b""

    def _keep_sending(self) -> None:
        failing_since, pause = 0.0, RECORDS_S
        while not self._over.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            try:
                self._pass()
                failing_since, pause = 0.0, RECORDS_S
            except StorageFault as fault:
                now = time.monotonic()
                pause = min(2 * pause, LONGEST_PAUSE_S) if failing_since else FIRST_PAUSE_S
                failing_since = failing_since or now
                if now - failing_since > self._patience_s:
                    self.trouble = given_up(fault, now - failing_since, str(self._folder.root))
            except RunnerError as error:
                self.trouble = error
            except Exception as error:  # noqa: BLE001 - a thread that ends in silence would let the run go on unsent
                self.trouble = TrainingFailed(
                    f"sending failed ({type(error).__name__}: {error})", str(self._folder.root), "run the command again"
                )
            if self.trouble is not None:
                return

    def _pass(self) -> None:
        """Send everything that waits, then the records that have grown; and hear whether a stop is asked for."""
        while (item := self._next()) is not None:
            self._send(*item)
            self._current = None
            discard(item[1])
        self._send_records()
        self._hear()

    def _next(self) -> tuple[str, Path] | None:
        with self._guard:
            if self._current is None and self._waiting:
                name = next(iter(self._waiting))
                self._current = (name, self._waiting.pop(name))
            return self._current

    def _send(self, name: str, staged: Path) -> None:
        """Its files, MANIFEST.json last; the records; its name in the register.  What that makes superfluous goes."""
        step = verified(staged, contents=False).step
        stem = f"{name.partition('/')[0]}/step-{step:06d}"
        place = f"{stem}-{self._attempt[:8]}"
        files = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
        for file in sorted(files, key=lambda file: file == MANIFEST_FILE):
            self._store.put(staged / file, f"{place}/{file}")
        superfluous: set[str] = set()

        def published(entry: Entry) -> Entry:
            folders = {**self._ours(entry, self._attempt).folders, name: place}
            if step_of(name) >= 0:
                folders = pruned(folders, written=step, keep=self._keep)
            superfluous.update(set(entry.folders.values()) - set(folders.values()))
            return replace(entry, folders=folders)

        self._send_records()  # who goes on from it elsewhere has them from nowhere else
        self._register.advance(published)
        self._remove(superfluous)

    def _send_records(self) -> None:
        for path in records_in(self._folder):
            with suppress(FileNotFoundError):  # a marker that was removed meanwhile
                facts = path.stat()
                mark = (facts.st_size, facts.st_mtime_ns)
                if self._sent.get(path) == mark:
                    continue
                relative = path.relative_to(self._folder.root).as_posix()
                self._store.write(f"{RECORDS}/{self._attempt}/{relative}", path.read_bytes())
                self._sent[path] = mark

    def _hear(self) -> None:
        """A launcher on another machine asks for a stop through the bucket."""
        driver = self._folder.root / DRIVER_FILE
        if driver.exists() and driver.read_text() == self._holder:
            return
        if self._store.keys(f"{STOP_KEY}/{self._holder}"):
            self._folder.inside(STOP_FILE).touch()


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

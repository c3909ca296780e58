"""What machines that do not write a run need of it while it trains: checkpoints for ranks, news for the launcher.

The writing rank's half is ``sending``.
"""

import threading
from contextlib import suppress

from runner.runs.durable import write_file
from runner.runs.folder import RunFolder
from runner.runs.manifest import Damaged
from runner.runs.remote.bringing import bring_folder, bring_records
from runner.runs.remote.faults import StorageFault
from runner.runs.remote.layout import RECORDS, writer_here
from runner.runs.remote.patience import patiently
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store

NEWS = ("metrics.jsonl", "outcome.json")
NEWS_S = 3.0


class Receiver:
    """The half of a rank that does not write: it gets the checkpoint that the writing rank has chosen."""

    skipped: tuple[str, ...] = ()

    def __init__(self, store: Store, folder: RunFolder, *, patience_s: float) -> None:
        self._store, self._folder, self._patience_s = store, folder, patience_s

    def resumed(self, step: int) -> None:
        """The checkpoint after ``step`` lies in this machine's folder on return."""
        if step < 0:
            return
        name = f"checkpoints/step-{step:06d}"
        patiently(lambda: self._bring(name), give_up_s=self._patience_s, kept_in=self._store.url)

    def saved(self, step: int) -> None:
        """The writing rank sends it."""

    def must_stop(self) -> bool:
        """The writing rank is asked."""
        return False

    def finish(self, *, hurry: bool) -> None:
        """Nothing is sent from here."""

    def last_words(self) -> None:
        """Nothing is sent from here."""

    def _bring(self, name: str) -> None:
        for _ in range(2):
            with suppress(Damaged):  # the writing rank has just sent it anew
                bring_folder(self._store, Register(self._store).newest(), self._folder, name)
                return
        bring_folder(self._store, Register(self._store).newest(), self._folder, name)


class News:
    """Brings a launcher, every few seconds, what the writing rank on another machine records."""

    def __init__(self, store: Store, folder: RunFolder, *, before: str) -> None:
        """``before`` is the attempt that was the newest when the run was opened."""
        self._store, self._folder, self._before = store, folder, before
        self._known: dict[str, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="news", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look a last time, at everything that was recorded, and end."""
        self._over.set()
        self._thread.join()
        with suppress(StorageFault):
            entry = Register(self._store).newest()
            if self._is_elsewhere(entry.attempt):
                bring_records(self._store, entry, self._folder)

    def _keep(self) -> None:
        while not self._over.wait(NEWS_S):
            with suppress(StorageFault):
                self._look()

    def _look(self) -> None:
        attempt = Register(self._store).newest().attempt
        if not self._is_elsewhere(attempt):
            return
        for name in NEWS:
            with suppress(FileNotFoundError):
                content = self._store.read(f"{RECORDS}/{attempt}/{name}")
                if content != self._known.get(name):
                    write_file(self._folder.inside(name), content)
                    self._known[name] = content

    def _is_elsewhere(self, attempt: str) -> bool:
        """Whether the rank that writes belongs to this launch, and works in another machine's folder."""
        return attempt not in (self._before, writer_here(self._folder.root))

"""A child that saves checkpoints and is killed with SIGKILL at its n-th operation on the file system.

Run by test_checkpoint_crash; it counts opens, renames, removals (audit events) and fsyncs, and tells on standard
output which inodes were synced, so that the test can also lose what was not.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from runner.runs import Attempt, CheckpointStore, Manifest, durable, publish_folder

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
CONTENT = {100: b"first " * 40_000, 200: b"second " * 40_000, 300: b"third " * 40_000}


def fill(folder: Path, step: int) -> None:
    """Three files, one in a folder of its own, all different for every step."""
    (folder / "adapter").mkdir()
    (folder / "adapter" / "weights.bin").write_bytes(CONTENT[step])
    (folder / "optimizer.bin").write_bytes(CONTENT[step][::-1])
    (folder / "state.json").write_text(f'{{"step": {step}}}')


def save(root: Path, attempt: Attempt, step: int) -> None:
    """One checkpoint through the store, then the folder ``best``."""
    store = CheckpointStore(root / "checkpoints", keep=2, stamp={"job": "abc"}, attempt=attempt)
    with store.writing(step) as folder:
        fill(folder, step)
    with publish_folder(root / "best", manifest=Manifest(step, attempt.number, {}, {}), attempt=attempt) as folder:
        fill(folder, step)


class Killer:
    """Counts operations under ``root`` and kills this process just before number ``fatal``, or stops it."""

    def __init__(self, root: Path, fatal: int, signal_: signal.Signals = signal.SIGKILL) -> None:
        self._root = str(root)
        self._fatal, self._signal = fatal, signal_
        self._count = 0

    def watch(self) -> None:
        """From now on every operation counts."""
        fsync = os.fsync

        def counted_fsync(descriptor: int) -> None:
            self._step()
            fsync(descriptor)
            os.write(1, b"%d\n" % os.fstat(descriptor).st_ino)

        os.fsync = counted_fsync  # type: ignore[assignment]  # fsync raises no audit event
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[object, ...]) -> None:
        named = isinstance(arguments[0], str | Path) if arguments else False
        if event in EVENTS and named and str(arguments[0]).startswith(self._root):
            self._step()

    def _step(self) -> None:
        self._count += 1
        if self._count == self._fatal:
            os.kill(os.getpid(), self._signal)


def main(root: Path, *, swap: bool) -> None:
    """Children, each killed one operation later than the one before, until one ends by itself.

    Every child starts from a fresh ``root/<n>`` that holds two checkpoints; the inodes of what is
    synced go to ``root/<n>.synced``.
    """
    if not swap:
        durable._exchange = lambda *_: False
    before = root / "before"
    before.mkdir(parents=True)
    attempt = Attempt.begin(before)
    for step in (100, 200):
        save(before, attempt, step)
    fatal = 1
    while True:
        place = root / str(fatal)
        shutil.copytree(before, place)
        attempt = Attempt.begin(place)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(f"{place}.synced", os.O_WRONLY | os.O_CREAT), 1)
            for path in place.rglob("*"):
                os.write(1, b"%d\n" % path.stat().st_ino)
            Killer(place, fatal).watch()
            save(place, attempt, 300)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            shutil.rmtree(before)
            shutil.rmtree(place)
            return
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        fatal += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), swap=sys.argv[2] == "swap")

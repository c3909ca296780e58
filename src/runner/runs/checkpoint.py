"""Checkpoints that are whole or not there: written aside, checksummed, renamed, pruned; the newest valid one found.

What is inside a checkpoint is the trainer's business; here it is files.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runner.config.disk import is_full_disk, mib
from runner.errors import DoesNotFit
from runner.runs.attempt import Attempt, StaleAttempt
from runner.runs.durable import PARTIAL, discard, partial_name, put_in_place, sync, sync_tree
from runner.runs.environment import package_versions
from runner.runs.full_disk import RESERVE_BYTES, size
from runner.runs.manifest import Damaged, Manifest, verified, write_manifest

_STEP = re.compile(r"step-(\d{6,})")
_PARTIAL = re.compile(r"\.tmp-[0-9a-f]{32}")
_NEARLY_NOTHING = 1 << 20


@dataclass(frozen=True)
class Skipped:
    """A folder that was not used, and why in one line."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path.name} skipped: {self.reason}"


@dataclass(frozen=True)
class FoundCheckpoint:
    """The newest valid checkpoint (``path`` None and ``step`` 0: none), and what was passed over on the way."""

    path: Path | None
    step: int
    manifest: Manifest | None = None
    skipped: tuple[Skipped, ...] = field(default=())


class CheckpointStore:
    """The checkpoints of one run under ``root``, one folder ``step-000500`` each.

    ``stamp`` says what a checkpoint belongs to; only one whose ``job`` is the same is resumed from.  ``attempt`` is
    the start of training that writes.
    """

    def __init__(self, root: Path, *, keep: int, stamp: Mapping[str, str], attempt: Attempt) -> None:
        assert keep >= 1
        self._root = root
        self._keep = keep
        self._stamp = dict(stamp)
        self._attempt = attempt
        root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """A new folder to fill with the state after ``step``; published when the body ends, removed if it raises.

        After the return the checkpoint is durable and older ones are pruned to ``keep``.  ``DoesNotFit`` when the
        disk fills; ``StaleAttempt`` when a newer attempt began: nothing is published then.
        """
        manifest = Manifest(step, self._attempt.number, self._stamp, package_versions())
        with publish_folder(self._root / _name(step), manifest=manifest, attempt=self._attempt) as folder:
            yield folder
        self._prune(step)

    def newest_valid(self, *, remove_leftovers: bool = False) -> FoundCheckpoint:
        """The newest checkpoint whose every byte is as written, for this ``stamp``; and what was skipped, why.

        ``remove_leftovers`` also deletes what saves of earlier attempts left unfinished.
        ``UserError`` if a newer version of runner wrote one of the checkpoints looked at.
        """
        skipped = [Skipped(path, "its save was cut short") for path in self._leftovers()]
        if remove_leftovers:
            self.remove_leftovers()
        for step, path in sorted(self._steps(), reverse=True):
            try:
                manifest = self._usable(step, path)
            except (Damaged, OSError) as reason:
                skipped.append(Skipped(path, str(reason)))
                continue
            return FoundCheckpoint(path, step, manifest, tuple(skipped))
        return FoundCheckpoint(None, 0, None, tuple(skipped))

    def remove_leftovers(self) -> None:
        """Delete the unfinished folders under this root; anything with another name stays."""
        for path in self._leftovers():
            discard(path)

    def preflight(self, checkpoint_bytes: int) -> None:
        """``DoesNotFit`` unless two checkpoints of this size and a reserve fit on the disk."""
        need = 2 * checkpoint_bytes + RESERVE_BYTES
        have = shutil.disk_usage(self._root).free
        if have < need:
            raise DoesNotFit(
                f"the disk is too small: need {mib(need)} (2 checkpoints x {mib(checkpoint_bytes)} + "
                f"{mib(RESERVE_BYTES)} reserve), have {mib(have)}",
                str(self._root),
                "free space, or choose another folder with --storage",
            )

    def _usable(self, step: int, path: Path) -> Manifest:
        manifest = verified(path)
        if manifest.step != step:
            raise Damaged(f"its manifest is of step {manifest.step}")
        if manifest.stamp.get("job") != self._stamp.get("job"):
            raise Damaged(str(manifest.difference(self._stamp, recorded_only=True)))
        return manifest

    def _steps(self) -> list[tuple[int, Path]]:
        found = ((_STEP.fullmatch(path.name), path) for path in self._root.iterdir())
        return [(int(match[1]), path) for match, path in found if match and path.name == _name(int(match[1]))]

    def _leftovers(self) -> list[Path]:
        return leftovers(self._root, _STEP)

    def _prune(self, written: int) -> None:
        """Leave the ``keep`` newest up to ``written``.

        Later steps are the rest of a future that was given up (they were skipped at resume): they neither count nor
        go.  Folders that lack files do not count, so that they never push out a good one.
        """
        counted = 0
        for step, path in sorted(self._steps(), reverse=True):
            if step > written:
                continue
            counted += _looks_whole(path)
            if counted > self._keep or not _looks_whole(path):
                discard(path)
        sync(self._root)


@contextmanager
def publish_folder(target: Path, *, manifest: Manifest, attempt: Attempt | None = None) -> Iterator[Path]:
    """A folder to fill that becomes ``target``, replacing it, when the body ends; nothing changes if it raises.

    Readers find the old folder or the new one, each whole.  ``DoesNotFit`` when the disk fills, with
    ``StaleAttempt`` as in ``CheckpointStore.writing``.
    """
    partial = partial_name(target)
    try:
        partial.mkdir(parents=True)
        yield partial
        sync_tree(partial)
        write_manifest(partial, manifest)
        sync(partial)
        if attempt is None:
            put_in_place(partial, target)
        else:
            with attempt.publishing():
                put_in_place(partial, target)
    except BaseException as error:
        full = _disk_full(error, partial, target)
        shutil.rmtree(partial, ignore_errors=True)
        if full is not None:
            raise full from error
        raise


def recover_folder(target: Path) -> None:
    """Bring ``target`` back if a crash fell between the two renames of a file system that cannot swap names.

    Then remove what saves to ``target`` left unfinished.  Call it at a start, before the first ``publish_folder``.
    """
    if not target.parent.is_dir():
        return
    for partial in sorted(leftovers(target.parent, re.compile(re.escape(target.name))), key=_step_of, reverse=True):
        if not target.exists() and _looks_whole(partial):
            partial.rename(target)
            sync(target.parent)
        else:
            discard(partial)


def leftovers(root: Path, name: re.Pattern[str]) -> list[Path]:
    """Unfinished folders under ``root`` whose finished name would match ``name``."""
    found = []
    for path in sorted(root.iterdir()):
        finished, mark, rest = path.name.partition(PARTIAL)
        if mark and name.fullmatch(finished) and _PARTIAL.fullmatch(mark + rest):
            found.append(path)
    return found


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _looks_whole(path: Path) -> bool:
    try:
        verified(path, contents=False)
    except (Damaged, OSError):
        return False
    return True


def _step_of(path: Path) -> int:
    try:
        return verified(path, contents=False).step
    except (Damaged, OSError):
        return -1


def _disk_full(error: BaseException, partial: Path, target: Path) -> DoesNotFit | None:
    """The error to raise instead of ``error`` if the disk filled; writers in other languages hide the code."""
    if isinstance(error, StaleAttempt) or not isinstance(error, Exception):
        return None
    have = shutil.disk_usage(target.parent).free
    if not is_full_disk(error) and have >= _NEARLY_NOTHING:
        return None
    have += size(partial)
    return DoesNotFit(
        f"the disk filled while {target.name} was saved: need more than {mib(max(have, size(target)))}, "
        f"have {mib(have)} (the unfinished save is removed, the last good one kept)",
        str(target.parent),
        "free space and resume, or lower checkpoint.keep",
    )

"""Which folders a run's checkpoints and weights go to; only rank 0 touches them.

What is written into them is ``state``'s; how a folder becomes durable is ``runner.runs``'.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.errors import UserError
from runner.runs import (
    Attempt,
    CheckpointStore,
    FoundCheckpoint,
    Manifest,
    RunFolder,
    package_versions,
    publish_folder,
    recover_folder,
    verified,
)
from runner.train.world import World


@dataclass(frozen=True)
class _Lead:
    """What only rank 0 holds."""

    attempt: Attempt
    store: CheckpointStore
    found: FoundCheckpoint  # when the attempt began


@dataclass(frozen=True)
class Saves:
    """The durable folders of one attempt of a run."""

    folder: RunFolder
    stamp: Mapping[str, str]
    lead: _Lead | None

    @classmethod
    def begin(cls, folder: RunFolder, world: World, *, keep: int, stamp: Mapping[str, str]) -> "Saves":
        """Start a new attempt: from now on no earlier one can publish anything."""
        if not world.leads:
            return cls(folder, stamp, None)
        attempt = Attempt.begin(folder.root)
        for name in ("best", "final"):
            recover_folder(folder.root / name)
        store = CheckpointStore(folder.checkpoints, keep=keep, stamp=stamp, attempt=attempt)
        return cls(folder, stamp, _Lead(attempt, store, store.newest_valid(remove_leftovers=True)))

    def newest(self) -> tuple[int, tuple[str, ...]]:
        """The step of the newest checkpoint that is valid at the start (-1: none), and a line for each passed over."""
        if self.lead is None:
            return -1, ()
        found = self.lead.found
        return (-1 if found.path is None else found.step), tuple(str(skipped) for skipped in found.skipped)

    def preflight(self, checkpoint_bytes: int) -> None:
        """``DoesNotFit`` unless two checkpoints and a reserve fit on the disk."""
        if self.lead is not None:
            self.lead.store.preflight(checkpoint_bytes)

    def check_base(self, step: int) -> None:
        """``UserError``, on every rank alike, unless the checkpoint after ``step`` was made of what the run has now."""
        manifest = verified(self.path(step), contents=False)
        if difference := manifest.difference(self.stamp, recorded_only=True):
            raise UserError(
                f"the checkpoint of step {step} belongs to something else: {difference}",
                str(self.path(step)),
                "bring back what it was trained on, or start a new run with --name or --resume never",
            )

    def path(self, step: int) -> Path:
        """The folder of the checkpoint after ``step``."""
        return self.folder.checkpoints / f"step-{step:06d}"

    @contextmanager
    def checkpoint(self, step: int) -> Iterator[Path | None]:
        """A folder that becomes the checkpoint after ``step``; None on ranks that do not write."""
        if self.lead is None:
            yield None
            return
        with self.lead.store.writing(step) as directory:
            yield directory

    @contextmanager
    def weights(self, name: Literal["best", "final"], step: int) -> Iterator[Path | None]:
        """A folder that becomes the run's ``name``; None on ranks that do not write."""
        if self.lead is None:
            yield None
            return
        manifest = Manifest(step, self.lead.attempt.number, dict(self.stamp), package_versions())
        with publish_folder(self.folder.root / name, manifest=manifest, attempt=self.lead.attempt) as directory:
            yield directory

"""Buckets of both kinds for tests, and a run's folder as a training leaves it, without a training."""

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from fsspec.asyn import get_loop

from runner.runs import Attempt, CheckpointStore, Manifest, MetricsLog, RunFolder, publish_folder
from runner.runs.remote.store import Store

STAMP = {"job": "the same"}


class Objects:
    """A bucket in memory, as a library of one is asked: what takes a hundred starts takes seconds."""

    def __init__(self) -> None:
        self.loop = get_loop()
        self._objects: dict[str, tuple[bytes, datetime]] = {}

    async def _find(self, path: str) -> list[str]:
        return [key for key in self._objects if key.startswith(f"{path}/")]

    async def _cat_file(self, path: str) -> bytes:
        return self._found(path)[0]

    async def _info(self, path: str) -> dict[str, datetime]:
        return {"LastModified": self._found(path)[1]}

    async def _pipe_file(self, path: str, content: bytes, mode: str = "overwrite") -> None:
        if mode == "create" and path in self._objects:
            raise FileExistsError(path)
        self._objects[path] = (content, datetime.now(UTC))

    async def _put_file(self, local: str, path: str) -> None:
        self._objects[path] = (Path(local).read_bytes(), datetime.now(UTC))

    async def _get_file(self, path: str, local: str) -> None:
        Path(local).write_bytes(self._found(path)[0])

    async def _rm_file(self, path: str) -> None:
        self._objects.pop(path, None)

    def _found(self, path: str) -> tuple[bytes, datetime]:
        if path not in self._objects:
            raise FileNotFoundError(path)
        return self._objects[path]


class Trainer:
    """Saves into a run's folder what a training would, a few bytes of it."""

    def __init__(self, root: Path, keep: int = 2) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.folder = RunFolder(root.resolve())
        self._keep = keep

    @cached_property
    def attempt(self) -> Attempt:
        """Begun when it is first needed: after the run was brought here, as a training does."""
        return Attempt.begin(self.folder.root)

    @cached_property
    def store(self) -> CheckpointStore:
        """The checkpoints of the folder."""
        return CheckpointStore(self.folder.checkpoints, keep=self._keep, stamp=STAMP, attempt=self.attempt)

    def save(self, step: int) -> None:
        """A new best, a line of metrics and a checkpoint after ``step``."""
        with publish_folder(self.folder.best, manifest=Manifest(step, 1, STAMP, {}), attempt=self.attempt) as best:
            (best / "adapter.bin").write_text(f"best of {step}")
        with MetricsLog(self.folder.metrics_file) as log:
            log.append({"kind": "train", "step": step, "loss": 1.0 / step})
        with self.store.writing(step) as checkpoint:
            for name in ("adapter.bin", "optimizer.bin", "state.json"):
                (checkpoint / name).write_text(f"{name} after {step}")


def keys(place: str | Store) -> list[str]:
    """Everything in the bucket under a URL."""
    return (Store(place) if isinstance(place, str) else place).keys("")

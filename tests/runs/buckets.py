"""Buckets of both kinds for tests, and a run's folder as a training leaves it, without a training."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bucket_server import BUCKET, access, gs_server, s3_server
from runner.runs import Attempt, CheckpointStore, Manifest, MetricsLog, RunFolder, publish_folder
from runner.runs.remote.store import Store

STAMP = {"job": "the same"}


@contextmanager
def bucket(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty bucket, ``s3`` or ``gs``, that this process reaches within the block."""
    before = dict(os.environ)
    try:
        if kind == "s3":
            with s3_server() as port:
                os.environ.update(access(port))
                yield f"s3://{BUCKET}/runs"
        else:
            with gs_server(folder) as port:
                os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
                yield f"gs://{BUCKET}/runs"
    finally:
        os.environ.clear()
        os.environ.update(before)


class Trainer:
    """Saves into a run's folder what a training would, a few bytes of it."""

    def __init__(self, root: Path, keep: int = 2) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.folder = RunFolder(root.resolve())
        self.attempt = Attempt.begin(self.folder.root)
        self.store = CheckpointStore(self.folder.checkpoints, keep=keep, stamp=STAMP, attempt=self.attempt)

    def save(self, step: int) -> None:
        """A new best, a line of metrics and a checkpoint after ``step``."""
        with publish_folder(self.folder.best, manifest=Manifest(step, 1, STAMP, {}), attempt=self.attempt) as best:
            (best / "adapter.bin").write_text(f"best of {step}")
        with MetricsLog(self.folder.metrics_file) as log:
            log.append({"kind": "train", "step": step, "loss": 1.0 / step})
        with self.store.writing(step) as checkpoint:
            for name in ("adapter.bin", "optimizer.bin", "state.json"):
                (checkpoint / name).write_text(f"{name} after {step}")


def keys(url: str) -> list[str]:
    """Everything in the bucket under ``url``."""
    return Store(url).keys("")

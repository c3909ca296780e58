"""Two ranks of a small job, each as a worker on a machine of its own has it, but for Ray; run as a script."""

import json
import multiprocessing
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from bucket_server import free_port
from finished_run import small_job
from lone_worker import without_ray
from runner.distributed import worker
from runner.distributed.worker import Assignment, RayReporter
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store

SAVED, KILLED, STEPS = 4, 8, 12
JOB = small_job(train__steps=STEPS, checkpoint__every=SAVED, validation__every=SAVED)


@dataclass(frozen=True)
class Turn:
    """A launch in which a rank takes part: its folder, and its bucket if the run is kept in one.

    ``killed``: its process ends when the checkpoint of step ``KILLED`` lies in the folder and is not yet sent.
    """

    root: str
    launch: str
    bucket: dict[str, Any] | None = None
    killed: bool = False


def train(turn: Turn, cache: str) -> None:
    """The rank's part in one launch."""
    Path(turn.root).mkdir(exist_ok=True)
    told = RayReporter.saved

    def saved(reporter: RayReporter, step: int, checkpoint: Path, loss: float | None) -> None:
        if turn.killed and step == KILLED:
            os._exit(0)
        if turn.bucket is None:
            return  # Ray, which is not there, would be told
        told(reporter, step, checkpoint, loss)
        while f"checkpoints/step-{step:06d}" not in Register(Store(turn.bucket["url"])).newest().folders:
            time.sleep(0.05)

    given = Assignment(JOB.model_dump(mode="json"), turn.root, cache, turn.launch, 0.0, 0.0, 1, bucket=turn.bucket)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RayReporter, "saved", saved)
        worker.work(asdict(given))


def rank_of_two(rank: int, port: int, turns: list[Turn], cache: str) -> None:
    """Train as ``rank``, one turn after the other."""
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch, rank, 2)
        for turn in turns:
            train(turn, cache)
    torch.distributed.destroy_process_group()


def main(cache: str, turns_of_ranks: list[list[dict[str, Any]]]) -> int:
    """0 if both ranks, in processes of their own, ended well or were killed; what they need is imported once."""
    import peft  # noqa: F401
    import transformers.models.starcoder2.modeling_starcoder2  # noqa: F401

    port, fork = free_port(), multiprocessing.get_context("fork")
    ranks = [
        fork.Process(target=rank_of_two, args=(rank, port, [Turn(**turn) for turn in turns], cache))
        for rank, turns in enumerate(turns_of_ranks)
    ]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    return max(abs(each.exitcode or 0) for each in ranks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))

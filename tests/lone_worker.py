"""A worker without Ray: what Ray would tell it of the others and of its machine."""

import pytest
import torch

from runner.distributed import worker
from runner.train.world import World


class NoDrain:
    """No machine is taken away."""

    @classmethod
    def of_this_worker(cls) -> "NoDrain":
        return cls()

    def announced(self) -> bool:
        return False

    def close(self) -> None:
        return None


def without_ray(patch: pytest.MonkeyPatch, rank: int = 0, ranks: int = 1) -> None:
    """Let ``worker.work`` be ``rank`` of so many on a CPU, and ask no Ray, nor start one."""
    patch.setattr(worker, "_world", lambda: World(rank, ranks, torch.device("cpu")))
    patch.setattr(worker, "Drain", NoDrain)

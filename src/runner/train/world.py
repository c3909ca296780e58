"""Where one worker stands among all: its rank, its device, and sums over every rank.

Who starts the workers is no matter here: a process group is used when there is one.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor


def best_device() -> torch.device:
    """The CUDA device of this process when there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@dataclass(frozen=True)
class World:
    """One worker's place; ``size`` above 1 needs an initialised ``torch.distributed`` group."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=best_device)

    @classmethod
    def of_group(cls, kind: Literal["cuda", "cpu"]) -> "World":
        """This process's place in the group of ``torch.distributed`` that it has joined; alone where there is none."""
        device = torch.device("cuda", torch.cuda.current_device()) if kind == "cuda" else torch.device("cpu")
        return cls(dist.get_rank(), dist.get_world_size(), device) if dist.is_initialized() else cls(device=device)

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    @property
    def device_name(self) -> str:
        """The device as its maker calls it; a CPU with the threads that compute."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU, {torch.get_num_threads()} threads"

    def sum(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over all ranks, in place; the same bits on every rank."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
        return tensor

    def count(self, here: bool) -> int:
        """On how many ranks it is so; each waits for all."""
        return int(self.sum(torch.tensor([int(here)], dtype=torch.int64, device=self.device)).item())

    def least(self, number: int) -> int:
        """The least ``number`` of all ranks; each waits for all."""
        if self.size == 1:
            return number
        box = torch.tensor([number], dtype=torch.int64, device=self.device)
        dist.all_reduce(box, op=dist.ReduceOp.MIN)
        return int(box.item())

    def from_lead(self, number: int) -> int:
        """The number that rank 0 holds."""
        if self.size == 1:
            return number
        box = torch.tensor([number if self.leads else 0], dtype=torch.int64, device=self.device)
        return int(self.sum(box).item())

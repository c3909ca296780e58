"""Decoding steps as CUDA graphs, one for each number of rows and columns, recorded once and replayed.

A step of one token a row is hundreds of small kernels: launched one by one, the device would wait for most of them.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

Step: TypeAlias = Callable[[int, int], None]

ROPES = ("default", "linear", "llama3", "yarn", "proportional")  # the others ask the host for the longest position


def replayable(lm: Any, device: torch.device) -> bool:
    """Whether steps of ``lm`` on ``device`` can be recorded: nothing in them may ask the host."""
    rope = getattr(lm.config, "rope_parameters", None) or {}
    return device.type == "cuda" and rope.get("rope_type", "default") in ROPES


class Replays:
    """The recordings of one cache.

    The first step of a kind runs as it is, so that kernels are chosen; the second is recorded.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[int, int], torch.cuda.CUDAGraph | None] = {}
        self._pool: Any = None

    def run(self, step: Step, rows: int, columns: int) -> None:
        """One ``step(rows, columns)``, which reads and writes only tensors that stay where they are."""
        kind = (rows, columns)
        if kind not in self._graphs:
            self._graphs[kind] = None
            step(rows, columns)
            return
        graph = self._graphs[kind]
        if graph is None:
            graph = self._graphs[kind] = self._record(step, rows, columns)
        graph.replay()

    def _record(self, step: Step, rows: int, columns: int) -> torch.cuda.CUDAGraph:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # the mode lets other threads of the process use CUDA meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step(rows, columns)
        return graph

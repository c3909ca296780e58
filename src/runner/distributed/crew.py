"""Processes of a Ray cluster that share the units of a data set among them.

What is done with a unit, and that it is whole or not done at all, is in ``runner.data``.
"""

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from runner.config.cluster import Cluster
from runner.data.unit_work import Done, Piece
from runner.data.whole import Work
from runner.distributed.ray_session import ray_session
from runner.errors import RunnerError, TrainingFailed

TRIES = 5  # times that a piece of work is begun again when its process or its node dies


@contextmanager
def ray_crew(cluster: Cluster, *, workers: int | None) -> Iterator["RayCrew"]:
    """A process of one core each: ``workers`` of them, or as many as the cluster has cores when None."""
    import ray

    asked = cluster.model_copy(update={"workers": workers or 1, "cpus_per_worker": 1, "gpus_per_worker": 0})
    with ray_session(asked):
        yield RayCrew(workers or int(ray.cluster_resources()["CPU"]))


class RayCrew:
    """``workers`` Ray tasks at a time, each on one core, on whichever node has one free."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def each(self, work: Work, pieces: Sequence[Piece]) -> Iterator[Done]:
        """``work(piece)`` of each of the pieces, in the order in which they end."""
        import ray
        import ray.exceptions

        content = ray.put(pickle.dumps(work))
        task = ray.remote(num_cpus=1, max_retries=TRIES)(_do)
        waiting = list(reversed(pieces))
        running: list[Any] = []
        while waiting or running:
            while waiting and len(running) < self.workers:
                running.append(task.remote(content, waiting.pop()))
            (ended,), running = ray.wait(running, num_returns=1)
            try:
                yield ray.get(ended)
            except ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, RunnerError) else error) from error
            except ray.exceptions.RayError as error:
                raise TrainingFailed(
                    f"a unit was begun {TRIES + 1} times and its process died each time ({str(error).splitlines()[0]})",
                    "runner data --prepare",
                    "look at the memory of the nodes; units that are done are not done again",
                ) from error


def _do(content: bytes, piece: Piece) -> Done:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the task has one core
    return _unpacked(content)(piece)


@lru_cache(maxsize=1)
def _unpacked(content: bytes) -> Work:
    """A tokenizer takes a tenth of a second to unpack: once for each process."""
    work: Work = pickle.loads(content)
    return work

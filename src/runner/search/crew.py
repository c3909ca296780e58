"""The workers of one trial that trains on several: processes of Ray in its placement group, of which it is the first.

They do the same tasks in step; what a task is, ``worker`` knows.  When one of them fails alone, none goes on.
"""

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import ray
import torch.distributed as dist
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from runner.search.course import task_of
from runner.search.worker import Loader, Place, Report, TrialWorker, report_of

PATIENCE_S = 30.0  # for the others, when one has ended otherwise than they
COLLECTIVE_S = 1800.0  # for one that loads a base while the others wait


class Crew:
    """The other workers of a trial; made in its process, and gone with it."""

    def __init__(self, place: Place, load: Loader) -> None:
        """Start them, and let all of them be one group of ``torch.distributed``."""
        address = _free_address()
        group, member = get_current_placement_group(), ray.remote(_Member)
        self._members: list[Any] = []
        for rank in range(1, place.workers):
            where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            options = {"num_cpus": place.threads, "num_gpus": place.gpus, "scheduling_strategy": where}
            self._members.append(member.options(**options).remote(place, load))
        joining = [each.join.remote(address, rank) for rank, each in enumerate(self._members, start=1)]
        join_group(place, address, rank=0)
        ray.get(joining)

    def begin(self, task: dict[str, Any]) -> None:
        """Make ``task``, as plain values, the one that ``advance`` trains."""
        ray.get([member.begin.remote(task) for member in self._members])

    def advance(self, lead: Callable[[], Report]) -> Report:
        """What ``lead``, the first worker's part of the next rung, came to while the others did theirs.

        Raises when another one died or ended otherwise: none of them can go on then.
        """
        running = [member.advance.remote() for member in self._members]
        over = threading.Event()
        threading.Thread(target=_end_with, args=(list(running), over), name="crew", daemon=True).start()
        try:
            report = lead()
        finally:
            over.set()
        if report.kind == "cut":
            return report  # the others wait for it in the middle of a step; the search is over
        _, late = ray.wait(running, num_returns=len(running), timeout=PATIENCE_S)
        if late:
            raise RuntimeError(
                f"{len(late)} workers of the trial have not ended as its first, by {report.why or 'a rung'}"
            )
        for other in map(report_of, ray.get(running)):
            if (other.kind, other.ending) != (report.kind, report.ending):
                raise RuntimeError(f"a worker of the trial ended otherwise than its first: {other.why or other.kind}")
        return report

    def disband(self) -> None:
        """End them."""
        for member in self._members:
            ray.kill(member)


class _Member:
    """One of the other workers, in a process of its own."""

    def __init__(self, place: Place, load: Loader) -> None:
        self._place, self._worker = place, TrialWorker(place, load, leads=False)

    def join(self, address: str, rank: int) -> None:
        join_group(self._place, address, rank=rank)

    def begin(self, task: dict[str, Any]) -> None:
        self._worker.begin(task_of(task))

    def advance(self) -> dict[str, Any]:
        return asdict(self._worker.advance())


def join_group(place: Place, address: str, *, rank: int) -> None:
    """Let this process be worker ``rank`` of the trial; returns when all of them are there."""
    dist.init_process_group(
        "nccl" if place.gpus > 0 else "gloo",
        init_method=f"tcp://{address}",
        rank=rank,
        world_size=place.workers,
        timeout=timedelta(seconds=COLLECTIVE_S),
    )


def _free_address() -> str:
    """Of this machine, as the others see it."""
    host = ray.util.get_node_ip_address()
    with socket.create_server((host, 0)) as server:
        return f"{host}:{server.getsockname()[1]}"


def _end_with(running: list[Any], over: threading.Event) -> None:
    """End this process if one of ``running`` fails and the first worker, which then waits for it, does not in time.

    Tune starts the trial again.
    """
    while running and not over.is_set():
        ended, running = ray.wait(running, num_returns=1, timeout=1.0)
        for each in ended:
            try:
                failed = report_of(ray.get(each)).kind != "rung"
            except ray.exceptions.RayError:
                failed = True
            if failed and not over.wait(PATIENCE_S):
                os._exit(1)

"""What each trial gets of the machines, and how many run at once.

Asking Ray what there is, and placing trials there, is ``tuning``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.config.cluster import Cluster
from runner.config.search import Search
from runner.errors import DoesNotFit


@dataclass(frozen=True)
class Share:
    """Trials at once, and what each worker of a trial holds while it runs."""

    at_once: int
    cpus: int
    gpus: float
    workers: int = 1  # of a trial


def share_out(search: Search, cluster: Cluster, nodes: Sequence[Mapping[str, float]]) -> Share:
    """The share of a trial on machines with the resources of ``nodes``; ``DoesNotFit`` when a trial finds no room.

    With GPUs as many trials as their parts allow; without, one a machine, on all of its cores.  The workers of one
    trial may be on several machines.
    """
    gpus = _gpus_of_a_trial(search, cluster, nodes)
    return _on_gpus(search, cluster, nodes, gpus) if gpus > 0 else _on_cpus(search, cluster, nodes)


def _gpus_of_a_trial(search: Search, cluster: Cluster, nodes: Sequence[Mapping[str, float]]) -> float:
    if search.gpus_per_trial is not None:
        return search.gpus_per_trial
    if cluster.gpus_per_worker is not None:
        return float(cluster.gpus_per_worker)
    return float(any(node.get("GPU", 0.0) >= 1.0 for node in nodes))


def _on_gpus(search: Search, cluster: Cluster, nodes: Sequence[Mapping[str, float]], gpus: float) -> Share:
    cpus = cluster.cpus_per_worker or 1
    rooms = [min(int(node.get("GPU", 0.0)) * int(1.0 / gpus), int(node.get("CPU", 0.0)) // cpus) for node in nodes]
    workers = cluster.workers
    if workers > 1 and gpus < 1.0:
        raise DoesNotFit(
            f"{workers} workers of a trial with {gpus:g} GPUs each would share one, which NCCL cannot",
            "gpus_per_trial and workers",
            "give each a whole GPU, or a trial one worker",
        )
    at_once = sum(rooms) // workers if search.concurrency == "auto" else search.concurrency
    if not 0 < at_once * workers <= sum(rooms):
        there = f"{sum(node.get('GPU', 0.0) for node in nodes):g} GPUs and {_cpus(nodes)} CPUs"
        raise _no_room(f"{_trials(at_once, workers)} of {gpus:g} GPUs and {cpus} CPUs", there)
    if cluster.cpus_per_worker is None:
        cpus = min(int(node.get("CPU", 0.0)) // room for node, room in zip(nodes, rooms, strict=True) if room)
    return Share(at_once, cpus, gpus, workers)


def _on_cpus(search: Search, cluster: Cluster, nodes: Sequence[Mapping[str, float]]) -> Share:
    cores = sorted((int(node.get("CPU", 0.0)) for node in nodes if node.get("CPU", 0.0) >= 1.0), reverse=True)
    workers = cluster.workers
    wanted = workers * (1 if search.concurrency == "auto" else search.concurrency)
    if cluster.cpus_per_worker is not None:
        cpus = cluster.cpus_per_worker
    elif wanted <= len(cores):
        cpus = min(cores)
    else:
        # the most cores a worker with which so many find room
        cpus = next((size for size in range(max(cores, default=1), 1, -1) if _rooms(cores, size) >= wanted), 1)
    room = _rooms(cores, cpus)
    at_once = room // workers if search.concurrency == "auto" else search.concurrency
    if not 0 < at_once * workers <= room:
        raise _no_room(f"{_trials(at_once, workers)} of {cpus} CPUs", f"{_cpus(nodes)} CPUs")
    return Share(at_once, cpus, 0.0, workers)


def _trials(at_once: int, workers: int) -> str:
    return f"{max(at_once, 1)} trials" + (f" of {workers} workers" if workers > 1 else "")


def _rooms(cores: Sequence[int], cpus: int) -> int:
    return sum(count // cpus for count in cores)


def _cpus(nodes: Sequence[Mapping[str, float]]) -> int:
    return int(sum(node.get("CPU", 0.0) for node in nodes))


def _no_room(asked: str, there: str) -> DoesNotFit:
    return DoesNotFit(
        f"{asked} are asked and Ray has {there}",
        "concurrency, gpus_per_trial or the cluster file",
        "ask for fewer at once, or for less of a GPU each, or add machines",
    )

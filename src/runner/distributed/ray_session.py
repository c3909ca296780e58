"""Ray itself: started locally or joined by address, checked to be large enough, and shut down.

A Ray that happens to run on the machine is never joined unless its address was given.
"""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.cluster import Cluster
from runner.config.cores import usable_cores, visible_gpus
from runner.distributed.joining import check_address, no_answer
from runner.distributed.ray_servers import servers_end_when_asked, sigterm_kept_from_children
from runner.distributed.token import ACCESS, TOKEN_FILE, TOKEN_PATH
from runner.errors import DoesNotFit, Stopped, TrainingFailed, UserError

RAY_THREAD = "ray-at-work"  # of the thread in which Ray Train or Tune runs; the main one answers signals


@dataclass(frozen=True)
class Resources:
    """What each of ``workers`` gets; where it is given, ``min_workers`` are enough."""

    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    min_workers: int | None = None


@contextmanager
def ray_session(cluster: Cluster) -> Iterator[Resources]:
    """Ray, started or joined as ``cluster`` says, within the block; raises ``DoesNotFit`` when it is too small."""
    check_local_size(cluster)
    if cluster.address is not None and cluster.address != "auto":
        check_address(cluster.address)
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 lets any other program starve the training
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # else a thread left behind starts Ray again after its end
    if cluster.address is None:
        os.environ.pop(ACCESS, None)  # Ray's own choice for a new cluster, which is to ask for a token
    import ray

    try:
        with sigterm_kept_from_children():
            ray.init(
                address=cluster.address or "local",
                num_cpus=None if cluster.address else usable_cores(),
                include_dashboard=None if cluster.address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
    except (ConnectionError, RuntimeError) as error:
        raise _not_joined(cluster.address or "local", str(error)) from error
    except Exception as error:
        if type(error) is not Exception:  # Ray's of a node that is late is a plain one
            raise
        raise TrainingFailed(
            f"Ray did not start in time ({error})",
            "this machine, which may have too much to do",
            "run the same command again; it goes on from the last checkpoint",
        ) from error
    except SystemExit as error:  # Ray's way to take SIGTERM while it starts
        signal.alarm(0)  # by which Ray's handler beneath aborts this process 3 s later
        with servers_end_when_asked():
            ray.shutdown()
        raise Stopped("stopped before the first step", "Ray was starting", "run it again") from error
    if cluster.address is None:
        _narrow_token_file()
    try:
        yield share_out(cluster, nodes_here())
    finally:
        if not is_at_work():
            with servers_end_when_asked():
                ray.shutdown()


def is_at_work() -> bool:
    """Whether a thread still uses Ray, as after a second Ctrl-C: to shut Ray down then would abort this process.

    What ends it is ``os._exit``; the processes of a Ray that was started here end with it.
    """
    return any(thread.name == RAY_THREAD and thread.is_alive() for thread in threading.enumerate())


def _not_joined(address: str, why: str) -> UserError:
    if not why.startswith("Version mismatch"):
        return no_answer(address, why.splitlines()[0])
    versions = [line.partition(":")[2].strip() for line in why.splitlines() if line.startswith("    ")]
    theirs, ours = (f"Ray {ray} on Python {python}" for ray, python in (versions[:2], versions[2:4]))
    return UserError(
        f"the cluster has {theirs}, this is {ours}",
        f"cluster.address {address}",
        "use the same versions on all machines",
    )


def check_local_size(cluster: Cluster) -> None:
    """``DoesNotFit``, before anything starts, where this machine has fewer CPUs or GPUs than are asked of it."""
    if cluster.address is not None:
        return
    workers = cluster.min_workers or cluster.workers
    asked = {
        "CPUs": (cluster.cpus_per_worker or 1, usable_cores()),
        "GPUs": (cluster.gpus_per_worker or 0, visible_gpus()),
    }
    for kind, (each, present) in asked.items():
        if present is not None and workers * each > present:
            raise DoesNotFit(
                f"{workers} workers x {each:g} {kind} = {workers * each:g} are asked, {present} are here",
                "the cluster file or --workers",
                "ask for fewer, or give the address of a larger Ray cluster",
            )


def living_nodes() -> list[dict[str, Any]]:
    """Every living node of the Ray that this process has joined, as Ray describes it."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def nodes_here() -> list[dict[str, float]]:
    """The resources of every living node."""
    return [node["Resources"] for node in living_nodes()]


def share_out(cluster: Cluster, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """What each worker gets on machines with the resources of ``nodes``; ``DoesNotFit`` when one finds no room.

    A GPU each when there is one and the cluster file does not say otherwise; the most CPUs with which all find room,
    or the fewest workers that are enough.
    """
    has_gpu = any(node.get("GPU", 0.0) >= 1.0 for node in nodes)
    gpus = float(has_gpu) if cluster.gpus_per_worker is None else float(cluster.gpus_per_worker)
    most = int(max((node.get("CPU", 0.0) for node in nodes), default=0.0))
    least = cluster.min_workers or cluster.workers
    sizes = [cluster.cpus_per_worker] if cluster.cpus_per_worker else range(most, 0, -1)
    for enough in sorted({cluster.workers, least}, reverse=True):
        for cpus in sizes:
            if sum(_room(node, cpus, gpus) for node in nodes) >= enough:
                return Resources(cluster.workers, cpus, gpus, cluster.min_workers)
    raise DoesNotFit(
        f"{least} workers of {cluster.cpus_per_worker or 1} CPUs and {gpus:g} GPUs are asked, "
        f"Ray has {node_words(nodes)}",
        "the cluster file or --workers",
        "ask for fewer workers or for less each, or add nodes",
    )


def _room(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Workers that find room on ``node``."""
    by_cpu = int(node.get("CPU", 0.0)) // cpus
    return min(by_cpu, int(node.get("GPU", 0.0) / gpus)) if gpus else by_cpu


def node_words(nodes: Sequence[Mapping[str, float]]) -> str:
    """Resources of all nodes, equal ones counted: ``2 nodes of 8 CPUs and 1 GPUs``."""
    kinds = Counter((int(node.get("CPU", 0.0)), node.get("GPU", 0.0)) for node in nodes)
    parts = [
        f"{count} {'node' if count == 1 else 'nodes'} of {cpus} CPUs and {gpus:g} GPUs"
        for (cpus, gpus), count in kinds.most_common()
    ]
    return ", ".join(parts) or "no nodes"


def _narrow_token_file() -> None:
    """Ray writes its token readable by all; only its owner should read it.

    One that this user cannot change, as on a read-only disk, was not written by Ray here and is left as it is.
    """
    path = Path(os.environ.get(TOKEN_PATH) or TOKEN_FILE).expanduser()
    with suppress(OSError):
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)

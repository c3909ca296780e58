"""``runner plan``: what a job will take, before it is started.

Calculating is ``runner.plan``'s, measuring ``runner.train.probe``'s.
"""

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.options import CACHE, ClusterFile, JobFile, Overrides, Workers, named_cluster, named_job
from runner.cli.ready import data_to_train_on
from runner.config.cores import usable_cores

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.config.job import Job


def plan(
    job: JobFile = None,
    override: Overrides = None,
    cluster: ClusterFile = None,
    workers: Workers = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Run a few real steps here to tell time and memory.")
    ] = True,
) -> None:
    """Tell a job's data, steps, memory and hours, and what does not fit."""
    show_plan(named_job(job, override), named_cluster(cluster, workers, None), measure=measure)


def show_plan(job: "Job", cluster: "Cluster", *, measure: bool) -> None:
    """Print the plan of ``job``; with ``measure`` a few real steps are run for its times, where one worker can."""
    imports_s = _seconds_of_imports() if measure else 0.0  # before anything else imports a part of it
    _, prepared = data_to_train_on(job)
    import torch

    from runner.plan import limit_memory, make_plan, present_device, read_geometry, render, settle

    if cluster.gpu_memory_gib is not None and torch.cuda.is_available():
        limit_memory(torch.device("cuda"), cluster.gpu_memory_gib)
    geometry, device = read_geometry(job), present_device()
    if cluster.address is not None and device.kind == "cpu":  # of a machine that need not be one of those that train
        device = replace(device, free_gib=math.inf)
    chosen = settle(job, geometry, device, ranks=cluster.workers)
    planned = make_plan(job, prepared, geometry, device, chosen, cluster.workers)
    timing = None
    if measure and planned.measurable:
        from runner.train.probe import probe

        threads, cache = _threads(cluster), CACHE.expanduser()
        timing = probe(job, ranks=cluster.workers, threads=threads, cache=cache, imports_s=imports_s)
    typer.echo(render(planned, timing))


def _seconds_of_imports() -> float:
    """Seconds that importing the code that trains takes here, in this process, which has not done so yet."""
    started = time.perf_counter()
    from transformers import AutoModelForCausalLM  # noqa: F401 - with torch the largest part

    import runner.train.loop  # noqa: F401

    return time.perf_counter() - started


def _threads(cluster: "Cluster") -> int:
    """CPU threads of a worker: its cores, which workers of one machine share out."""
    here = usable_cores() // (cluster.workers if cluster.address is None else 1)
    return cluster.cpus_per_worker or max(1, here)

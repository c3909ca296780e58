"""``runner plan``: what a job will take, before it is started.

Calculating is ``runner.plan``'s, measuring ``runner.train.probe``'s.
"""

from typing import Annotated

import typer

from runner.cli.options import CACHE, ClusterFile, JobFile, Overrides, Workers, named_cluster, named_job


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
    settings = named_job(job, override)
    profile = named_cluster(cluster, workers, None)
    import torch

    from runner.data import prepare
    from runner.model.tokenizer import load_encoder
    from runner.plan import limit_memory, make_plan, present_device, read_geometry, render, settle

    if profile.gpu_memory_gib is not None and torch.cuda.is_available():
        limit_memory(torch.device("cuda"), profile.gpu_memory_gib)
    geometry, device = read_geometry(settings), present_device()
    chosen = settle(settings, geometry, device, ranks=profile.workers)
    prepared = prepare(settings.data, load_encoder(settings.model), cache=CACHE.expanduser())
    made = make_plan(settings, prepared, geometry, device, chosen, profile.workers)
    timing = None
    if measure:
        from runner.train.probe import probe

        timing = probe(settings, cache=CACHE.expanduser())
    typer.echo(render(made, timing))

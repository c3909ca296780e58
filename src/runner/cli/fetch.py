"""``runner fetch``: a job's model and data brought into the cache, on a machine that reaches the hub.

Asking and downloading is in ``download``.
"""

import typer

from runner.cli.options import CACHE, JobFile, Overrides, named_job


def fetch(job: JobFile = None, override: Overrides = None) -> None:
    """Bring a job's model and data into the cache.

    Needs a machine that reaches the hub; says sizes and licences.
    """
    settings = named_job(job, override)
    from runner.cli.download import fetch_data, fetch_model

    for fetched in (fetch_model(settings.model), fetch_data(settings.data, CACHE.expanduser())):
        size = f", {fetched.bytes / 1e6:,.1f} MB" if fetched.bytes is not None else ""
        commit = f" at {fetched.commit[:12]}" if fetched.commit else ""
        typer.echo(f"{fetched.what}: {fetched.id}{commit}{size}\n  in {fetched.where}\n  licence: {fetched.licence}")

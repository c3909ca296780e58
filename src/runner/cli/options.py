"""The arguments and options that several commands share, and the job and cluster that they name.

What a key of a job means is in ``runner.config``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from runner.errors import UserError

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.config.document import Value
    from runner.config.job import Job

CACHE = Path("~/.cache/runner")  # prepared data; models and data sets of the hub lie in the hub's own cache
RUNS = "runs"

JobFile: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="JOB", help="Job file; the built-in demo when left out.", show_default=False)
]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", metavar="KEY=VALUE", help="Set a key of the job: -o train.steps=100. Repeatable."),
]
ClusterFile: TypeAlias = Annotated[
    Path | None, typer.Option("--cluster", metavar="FILE", help="Scaling profile; this machine when left out.")
]
Workers: TypeAlias = Annotated[
    str | None,
    typer.Option("--workers", metavar="N|MIN:MAX", help="Processes that train together; as many as find room."),
]
Address: TypeAlias = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="A running Ray cluster to join; else Ray is started here."),
]
Storage: TypeAlias = Annotated[
    str | None,
    typer.Option("--storage", metavar="FOLDER|URL", help=f"Where runs are kept, also s3:// or gs://; {RUNS}/ if not."),
]


def kept_in(
    storage: str | None, kept: str = RUNS, *, run: str | None = None, with_folders: tuple[str, ...] = ()
) -> Path:
    """The folder in which to look for runs: ``kept`` when nobody names one; in a Ray job where its runs last.

    Of a bucket it is a folder on this machine, to which the records of all runs are brought; or of ``run`` alone,
    with what ``with_folders`` names of it.
    """
    from runner.config.ray_job import lasting
    from runner.config.storage import fault_of, is_url

    if storage is None or not is_url(storage):
        return Path(lasting(storage or kept)).expanduser()
    if fault := fault_of(storage):
        raise UserError(fault, "--storage")
    from runner.runs.remote.viewing import view, view_all

    return view_all(storage, CACHE) if run is None else view(storage, CACHE, run, with_folders=with_folders)


def named_job(file: Path | None, overrides: list[str] | None, name: str | None = None) -> "Job":
    """The checked job of the command line, warned of on standard error; ``UserError`` for what is wrong with it."""
    from runner.config.ignored import ignored_settings
    from runner.config.load import load_job

    given = list(overrides or ())
    if name is not None:
        from runner.runs.folder import check_name

        check_name(name)
        given.append(f'name="{name}"')
    job = load_job(file, given)
    for line in ignored_settings(job):
        typer.echo(f"warning: {line}", err=True)
    return job


def named_cluster(
    file: Path | None, workers: str | None, storage: str | None, *, address: str | None = None, kept: str = RUNS
) -> "Cluster":
    """The checked scaling profile of the command line; raises ``UserError`` for what is wrong with it.

    Its storage is ``kept`` when nobody names one.  In a Ray job its cluster is the one that runs the job, whatever the
    file says, and its storage is outside of the working directory, which Ray removes.
    """
    from runner.config.cluster import load_cluster
    from runner.config.ray_job import cluster_of_job, lasting

    given = {"storage": storage, "address": address or cluster_of_job(), **_worker_range(workers)}
    profile = load_cluster(file, {key: value for key, value in given.items() if value is not None})
    folder = profile.storage if "storage" in profile.model_fields_set else kept
    return profile.model_copy(update={"storage": lasting(folder)})


def _worker_range(workers: str | None) -> "dict[str, Value]":
    """The keys that ``--workers`` stands for: N is that many, MIN:MAX as many of them as find room."""
    if workers is None:
        return {}
    least, colon, most = workers.partition(":")
    try:
        return {"min_workers": int(least), "workers": int(most)} if colon else {"workers": int(workers)}
    except ValueError as error:
        raise UserError(f'--workers is "{workers}"', "the command line", "give a count, or two as 2:8") from error

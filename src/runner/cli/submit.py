"""``runner submit``: a job or search of this machine, sent to a Ray cluster, followed, and ended with its exit code.

Sending and following is ``runner.distributed``'s; what has been submitted is looked at in ``submissions``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runner.cli.options import ClusterFile, Overrides, Workers, named_cluster, named_job
from runner.cli.submissions import ServerAddress, follow_to_end, reached
from runner.errors import UserError

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.config.job import Job
    from runner.config.search import Search
    from runner.distributed.job_server import JobServer
    from runner.distributed.submission import Request
    from runner.distributed.upload import Upload

LARGEST = 10
RESUMES = {  # of a search; a job has them under the same names
    "auto": ["--retry"],
    "never": [],
    "must": ["--resume"],
}


def submit(
    job: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOB|SEARCH", help="Job or search file; the built-in demo when left out.", show_default=False
        ),
    ] = None,
    override: Overrides = None,
    address: ServerAddress = None,
    cluster: ClusterFile = None,
    workers: Workers = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run or search.")] = None,
    resume: Annotated[
        Literal["auto", "never", "must"],
        typer.Option(help="auto goes on with an unfinished one of this name; never starts a new one; must goes on."),
    ] = "auto",
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="FOLDER|URL", help="Where it is kept: a folder that every node sees, s3://, gs://."
        ),
    ] = None,
    runtime_env: Annotated[
        Path | None,
        typer.Option(
            "--runtime-env", metavar="FILE", help="Ray's runtime environment; cluster/runtime-env.yaml if not."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show and check everything, send nothing.")] = False,
) -> None:
    """Run a job or search on a Ray cluster, from this folder.

    The folder is uploaded, but for what .gitignore leaves out.  Ends with the job's own exit code.
    """
    given = {"--cluster": cluster, "--workers": workers, "--name": name, "--storage": storage}
    wish = Wish(job, tuple(override or ()), {key: str(value) for key, value in given.items() if value is not None})
    target = _target(wish, name)
    profile = named_cluster(cluster, workers, storage)
    request = _request(wish, target, resume, runtime_env)
    typer.echo(described(request))
    server = reached(address)
    _check_room(server, target, profile)
    _check_alone(server, target.name)
    if dry_run:
        return
    identity = _sent(server, request)
    if wait:
        raise typer.Exit(follow_to_end(server, identity))


@dataclass(frozen=True)
class Wish:
    """What of the command line the cluster is to hear: the file, overrides, and options by name."""

    file: Path | None
    overrides: tuple[str, ...]
    options: Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """What is to run: a checked job, and the search over it if it is one; ``files`` it is made of."""

    name: str
    job: "Job"
    search: "Search | None"
    files: tuple[Path, ...]


def _target(wish: Wish, name: str | None) -> Target:
    """The checked job or search of the command line; a search is known by its ``space`` or ``stop_steps``."""
    from runner.config.document import read_document

    values = read_document(wish.file).values if wish.file is not None else {}
    own = (wish.file,) if wish.file is not None else ()
    if not {"space", "stop_steps"} & values.keys():
        job = named_job(wish.file, list(wish.overrides), name)
        return Target(job.name, job, None, own)
    from runner.config.load_search import load_search

    assert wish.file is not None
    found = load_search(wish.file, wish.overrides, {} if name is None else {"name": name})
    base = (wish.file.parent / found.search.job,) if found.search.job is not None else ()
    return Target(found.search.name, found.job, found.search, (*own, *base))


def _request(wish: Wish, target: Target, resume: Literal["auto", "never", "must"], file: Path | None) -> "Request":
    from runner.distributed.runtime_env import read_runtime_env
    from runner.distributed.submission import Request
    from runner.distributed.upload import LIMIT, list_upload, too_large

    environment = read_runtime_env(file)
    upload = list_upload(Path.cwd(), environment.excludes)
    if upload.size > LIMIT:
        typer.echo(_uploads(upload))
        raise too_large(upload)
    _check_uploaded(wish, target, upload)
    return Request(target.name, _words(wish, target, resume), environment, upload)


def _check_uploaded(wish: Wish, target: Target, upload: "Upload") -> None:
    """Every file that the job names in this folder goes with it."""
    named = [*target.files, *([Path(wish.options["--cluster"])] if "--cluster" in wish.options else [])]
    for key, value in (("model.id", target.job.model.id), ("data.id", target.job.data.id)):
        path = Path(value).expanduser()
        if path.is_absolute() and path.exists():
            typer.echo(f"warning: {key} {value} is not uploaded; every node must see it under this path", err=True)
        elif path.exists() and not value.startswith("builtin:"):
            named.append(path)
    for file in named:
        if not upload.holds(file):
            raise UserError(
                f"{file} is not among the files that are uploaded",
                str(upload.folder),
                "submit from a folder that holds it, and let neither .gitignore nor excludes leave it out",
            )


def _words(wish: Wish, target: Target, resume: Literal["auto", "never", "must"]) -> tuple[str, ...]:
    """The command that the cluster runs; paths are those of the uploaded folder."""
    words = ["train" if target.search is None else "search"]
    if wish.file is not None:
        words.append(_inside(wish.file))
    for override in wish.overrides:
        words += ["-o", override]
    for option, value in wish.options.items():
        words += [option, _inside(Path(value)) if option == "--cluster" else value]
    if target.search is not None:
        words += RESUMES[resume]
    elif resume != "auto":
        words += ["--resume", resume]
    return tuple(words)


def _inside(file: Path) -> str:
    return file.resolve().relative_to(Path.cwd()).as_posix()


def described(request: "Request") -> str:
    """What is sent: the command, the runtime environment, and the files with the largest of them."""
    values = request.environment.values
    variables = " ".join(f"{key}={value}" for key, value in values["env_vars"].items())
    others = "".join(f", {key}" for key in values if key != "env_vars")
    return "\n".join(
        [
            f"runs      {request.entrypoint}",
            f"with      {variables}{others} (runtime environment: {request.environment.source})",
            _uploads(request.upload),
        ]
    )


def _uploads(upload: "Upload") -> str:
    count = len(upload.files)
    shown = upload.largest(LARGEST)
    lines = [f"uploads   {count:,} {'file' if count == 1 else 'files'}, {_size(upload.size)} of {upload.folder}"]
    lines += [f"          {_size(size):>9}  {name}" for name, size in shown]
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"


def _check_room(server: "JobServer", target: Target, profile: "Cluster") -> None:
    """Refuse with ``DoesNotFit`` what the cluster's nodes cannot hold, busy or not."""
    from runner.distributed.ray_session import node_words, share_out

    nodes = server.nodes()
    if target.search is None:
        share = share_out(profile, nodes)
        asked = f"{profile.workers_words} of {share.cpus_per_worker} CPUs"
        asked += f" and {share.gpus_per_worker:g} GPUs"
    else:
        from runner.search.share import share_out as share_out_trials

        trials = share_out_trials(target.search, profile, nodes)
        asked = f"{trials.at_once} trials at once of {profile.workers_words} of {trials.cpus} CPUs"
        asked += f" and {trials.gpus:g} GPUs"
    typer.echo(f"asks for  {asked}; the cluster has {node_words(nodes)}")


def _check_alone(server: "JobServer", name: str) -> None:
    from runner.distributed.submission import running

    other = running(server, name)
    if other is not None:
        raise UserError(
            f"{name} is being run already", f"submission {other.id}", f"follow it with `runner logs {other.id}`"
        )


def _sent(server: "JobServer", request: "Request") -> str:
    from runner.distributed.submission import send

    identity = send(server, request)
    typer.echo(f"submitted {identity}")
    for command, effect in _next(identity):
        typer.echo(f"          {command:{len(identity) + 14}}  {effect}")
    return identity


def _next(identity: str) -> Sequence[tuple[str, str]]:
    return (
        (f"runner logs {identity}", "what it writes"),
        (f"runner status {identity}", "how it stands"),
        (f"runner stop {identity}", "asks it to save and end"),
    )

"""``runner status``, ``logs`` and ``stop``: what has been submitted to a Ray cluster, and how it goes.

Runs themselves are shown by ``runs``; the cluster is spoken to by ``runner.distributed``.
"""

import sys
import time
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from runner.cli.ticker import duration
from runner.errors import Interrupted, TrainingFailed

if TYPE_CHECKING:
    from runner.distributed.job_server import JobServer, Submission

ServerAddress: TypeAlias = Annotated[
    str | None,
    typer.Option("--address", metavar="URL", help="Ray's dashboard, http://HEAD:8265; RAY_API_SERVER_ADDRESS if not."),
]
SubmissionName: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="Id of a submission, or name of a run or search: its newest.")
]
STOP_GRACE_S = 30.0  # after the time that a job has to save


def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Id of a submission, or name of a run; all when left out."),
    ] = None,
    address: ServerAddress = None,
) -> None:
    """Show what has been submitted to a cluster, or one submission."""
    from runner.distributed.submission import find

    server = reached(address)
    if name is not None:
        typer.echo(_described(find(server, name)))
        return
    known = server.submissions()
    if not known:
        typer.echo(f"nothing has been submitted to {server.url}; runner submit JOB does")
        return
    widest = max(10, *(len(one.id) for one in known))
    typer.echo(f"{'submission':{widest}}  {'state':9}  {'took':>8}  {'code':>4}  command")
    for one in reversed(known):
        code = "-" if one.exit_code is None else one.exit_code
        typer.echo(f"{one.id:{widest}}  {one.status.lower():9}  {_took(one):>8}  {code:>4}  {one.entrypoint}")


def logs(
    name: SubmissionName,
    address: ServerAddress = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until it is over.")] = True,
) -> None:
    """Show what a submission writes, to its end; ends with its exit code."""
    from runner.distributed.submission import find

    server = reached(address)
    found = find(server, name)
    if follow:
        raise typer.Exit(follow_to_end(server, found.id))
    typer.echo(server.logs(found.id), nl=False)


def stop(
    name: SubmissionName,
    address: ServerAddress = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has saved and ended.")] = True,
) -> None:
    """Ask a submission to save and end; submitted again, it goes on."""
    from runner.distributed.submission import await_end, find, last_line

    server = reached(address)
    found = find(server, name)
    if found.over:
        typer.echo(f"{found.id} had ended before: {found.status.lower()}")
        return
    server.stop(found.id)
    typer.echo(f"{found.id} is asked to save and end")
    if not wait:
        return
    ended = await_end(server, found.id, found.stop_wait_s + STOP_GRACE_S)
    if not ended.over:
        raise TrainingFailed(f"{found.id} has not ended yet", server.url, "see `runner logs` for what it does")
    typer.echo(f"{ended.status.lower()}: {last_line(server, found.id)}")


def reached(address: str | None) -> "JobServer":
    """The cluster's job server; ``UserError`` within seconds when it cannot be used."""
    from runner.distributed.job_server import connect, crosses_network_open

    server = connect(address)
    if server.token is None:
        typer.echo(f"warning: {server.url} takes jobs from anyone; start Ray with RAY_AUTH_MODE=token", err=True)
    elif crosses_network_open(server):
        typer.echo(
            f"warning: the token travels to {server.url} unencrypted; a tunnel (ssh -L, kubectl port-forward) hides it",
            err=True,
        )
    return server


def follow_to_end(server: "JobServer", identity: str) -> int:
    """Show what the job writes until it is over, and return its exit code; Ctrl-C only ends the showing."""
    from runner.distributed.submission import exit_code, follow

    try:
        ended = follow(server, identity, _show)
    except KeyboardInterrupt:
        raise Interrupted(
            f"no longer followed, {identity} goes on",
            server.url,
            f"runner logs {identity} shows it, runner stop ends it",
        ) from None
    return exit_code(ended)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _described(submission: "Submission") -> str:
    from runner.distributed.submission import reason

    code = "" if submission.exit_code is None else f", exit code {submission.exit_code}"
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(submission.started))
    lines = [
        f"{submission.id}  {submission.status.lower()}{code}",
        f"command   {submission.entrypoint}",
        f"submitted {began} UTC, took {_took(submission)}",
    ]
    if submission.status == "FAILED" and submission.exit_code is None:
        lines.append(f"reason    {reason(submission)}")
    return "\n".join(lines)


def _took(submission: "Submission") -> str:
    if not submission.started:
        return "-"
    return duration((submission.ended or time.time()) - submission.started)

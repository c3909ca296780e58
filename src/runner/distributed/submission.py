"""One submission to a cluster: sent, found again by its name, followed to its end, and its exit code.

The server is ``job_server``'s, files are ``upload``'s; what the words of the entry point mean is the command line's.
"""

import asyncio
import secrets
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from runner.distributed.job_server import JobServer, Submission
from runner.distributed.runtime_env import RuntimeEnv, complete
from runner.distributed.upload import Upload, package
from runner.errors import Stopped, TrainingFailed, UserError

NAME = "job_name"  # of a submission's metadata; Ray's dashboard shows it
LOST_S = 60.0
POLL_S = 1.0
SILENT = 90.0  # seconds without an answer to a heartbeat, after which a connection is made anew

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Request:
    """What is to run, under which name: ``words`` are those of the command line, after ``runner``."""

    name: str
    words: tuple[str, ...]
    environment: RuntimeEnv
    upload: Upload

    @property
    def entrypoint(self) -> str:
        """The line that the cluster's shell runs."""
        return shlex.join(("runner", *self.words))


def send(server: JobServer, request: Request) -> str:
    """Upload the files unless they are there, start the job, and return its new id."""
    name, content = package(request.upload)
    environment = complete(request.environment, name)
    if not server.has_package(name):
        server.put_package(name, content)
    identity = f"{request.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    server.submit(
        {
            "entrypoint": request.entrypoint,
            "submission_id": identity,
            "runtime_env": environment,
            "metadata": {NAME: request.name},
        }
    )
    return identity


def find(server: JobServer, name: str) -> Submission:
    """The submission with the id ``name``, else the newest of the run or search ``name``; ``UserError`` if none."""
    known = server.submissions()
    for submission in reversed(known):
        if name in (submission.id, submission.metadata.get(NAME)):
            return submission
    shown = ", ".join(submission.id for submission in known[-5:]) or "none"
    raise UserError(f"there is no submission {name}", server.url, f"the last ones are: {shown}")


def running(server: JobServer, name: str) -> Submission | None:
    """The submission of the run or search ``name`` that is not over."""
    found = [one for one in server.submissions() if not one.over and one.metadata.get(NAME) == name]
    return found[-1] if found else None


def follow(server: JobServer, identity: str, show: Callable[[str], None]) -> Submission:
    """Hand everything that the job writes to ``show``, from its first character on, and return it when it is over.

    A connection that breaks is made anew, and nothing is shown twice.  ``TrainingFailed`` when the server has not
    answered for ``LOST_S`` seconds.
    """
    shown = _Shown(show)
    while True:
        whole = asyncio.run(_tail(server, identity, shown))
        submission = _patiently(lambda: server.submission(identity))
        if submission.over:
            if not whole:
                shown.add(_patiently(lambda: server.logs(identity)), 0)
            return submission
        time.sleep(POLL_S)


class _Shown:
    """Shows each character of a log once, however often its pieces come."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._characters = 0

    def add(self, text: str, start: int) -> int:
        """Show what is new of ``text``, which begins ``start`` characters into the log; its end is returned."""
        end = start + len(text)
        if end > self._characters:
            self._show(text[max(0, self._characters - start) :])
            self._characters = end
        return end


def await_end(server: JobServer, identity: str, timeout_s: float) -> Submission:
    """The submission when it is over, or as it is after ``timeout_s`` seconds.

    ``TrainingFailed`` when the server has not answered for ``LOST_S`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        submission = _patiently(lambda: server.submission(identity))
        if submission.over or time.monotonic() > deadline:
            return submission
        time.sleep(POLL_S)


def exit_code(submission: Submission) -> int:
    """The exit code of a job that is over, as its own command had it; 128 + N when signal N ended it.

    Raises ``Stopped`` for a job that was asked to stop, ``TrainingFailed`` for one that never came to an exit code,
    and ``UserError`` where the cluster has no program ``runner``.
    """
    if submission.status == "SUCCEEDED":
        return 0
    if submission.status == "STOPPED":
        raise Stopped("the job was stopped", submission.id, "submit it again to go on")
    code = submission.exit_code
    if code is None:
        raise TrainingFailed(
            f"the job ended without an exit code ({reason(submission)})", submission.id, "submit it again"
        )
    if code == 127:
        raise UserError(
            "the cluster's machines have no program `runner`", submission.id, "install this package in their image"
        )
    return code if code >= 0 else 128 - code


def reason(submission: Submission) -> str:
    """The first line of what the server says of a submission."""
    lines = submission.message.strip().splitlines()
    return lines[0].strip() if lines else submission.status.lower()


def last_line(server: JobServer, identity: str) -> str:
    """The last line of a job's output that says something."""
    text = _patiently(lambda: server.logs(identity))
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


async def _tail(server: JobServer, identity: str, shown: _Shown) -> bool:
    """Show the log from its begin on, until the connection ends; whether the server ended it, and nothing else."""
    import aiohttp  # Ray's own, for the same connection

    url = f"{server.url}/api/jobs/{quote(identity, safe='')}/logs/tail"
    place = 0
    try:
        async with (
            aiohttp.ClientSession(headers=server.headers) as session,
            session.ws_connect(url, heartbeat=SILENT, max_msg_size=0) as connection,
        ):
            async for message in connection:
                if message.type is aiohttp.WSMsgType.TEXT:
                    place = shown.add(message.data, place)
            return connection.close_code == aiohttp.WSCloseCode.OK
    except (aiohttp.ClientError, OSError):
        return False


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """What ``ask`` returns, asked again for ``LOST_S`` seconds while the server does not answer."""
    deadline = time.monotonic() + LOST_S
    while True:
        try:
            return ask()
        except TrainingFailed:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)

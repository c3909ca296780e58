"""The job server of a Ray cluster, spoken to over HTTP: reached or refused within seconds, with the cluster's token.

What is submitted is made in ``submission``; Ray itself is not imported.
"""

import http.client
import json
import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urlsplit

from runner.config.ray_job import CLUSTER
from runner.distributed.runtime_env import STOP_WAIT, STOP_WAIT_S
from runner.distributed.token import TOKEN, Token, token_asked_for, token_refused
from runner.errors import RunnerError, TrainingFailed, UserError

DEFAULT = "http://127.0.0.1:8265"
ANSWER_S = 5.0
UPLOAD_S = 600.0
REFUSED = (401, 403)
SERVER = "RAY_API_SERVER_ADDRESS"

Status: TypeAlias = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]


@dataclass(frozen=True)
class Submission:
    """One job as the server knows it; times in seconds since the epoch, 0 when not known.

    When it is asked to stop it has ``stop_wait_s`` seconds to save.
    """

    id: str
    status: Status
    entrypoint: str
    message: str
    metadata: Mapping[str, str]
    started: float
    ended: float
    exit_code: int | None
    stop_wait_s: int

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class JobServer:
    """A server that has answered; every call raises ``RunnerError`` when it does not any more."""

    url: str
    ray_version: str
    token: Token | None

    @property
    def headers(self) -> dict[str, str]:
        """What tells the server that it may answer."""
        return _headers(self.token)

    def nodes(self) -> list[dict[str, float]]:
        """The resources of every living node, as ``ray.nodes()`` has them."""
        found = self._json("GET", "/api/v0/nodes?detail=1&limit=10000")["data"]["result"]["result"]
        return [node["resources_total"] for node in found if node["state"] == "ALIVE"]

    def submissions(self) -> list[Submission]:
        """All submitted jobs, the oldest first."""
        found = [_submission(one) for one in self._json("GET", "/api/jobs/") if one.get("submission_id")]
        return sorted(found, key=lambda submission: submission.started)

    def submission(self, name: str) -> Submission:
        """The one with this id."""
        return _submission(self._json("GET", f"/api/jobs/{quote(name, safe='')}"))

    def submit(self, request: Mapping[str, Any]) -> None:
        """Start a job; ``request`` is what Ray's Jobs API takes."""
        self._json("POST", "/api/jobs/", json.dumps(request).encode())

    def stop(self, name: str) -> None:
        """Ask a job to end; it has ended when its submission is over."""
        self._json("POST", f"/api/jobs/{quote(name, safe='')}/stop")

    def logs(self, name: str) -> str:
        """All that a job has written so far."""
        return str(self._json("GET", f"/api/jobs/{quote(name, safe='')}/logs")["logs"])

    def has_package(self, package: str) -> bool:
        """Whether an upload of this name is there already."""
        return self._call("GET", f"/api/packages/gcs/{package}")[0] == 200

    def put_package(self, package: str, content: bytes) -> None:
        """Upload ``content``."""
        status, text = self._call("PUT", f"/api/packages/gcs/{package}", content, timeout=UPLOAD_S)
        if status != 200:
            raise _unexpected(self.url, status, text)

    def _json(self, method: str, path: str, data: bytes | None = None) -> Any:
        status, text = self._call(method, path, data)
        if status != 200:
            raise _unexpected(self.url, status, text)
        return json.loads(text)

    def _call(self, method: str, path: str, data: bytes | None = None, timeout: float = 30.0) -> tuple[int, str]:
        try:
            return _asked(method, f"{self.url}{path}", self.headers, data, timeout)
        except OSError as error:
            raise TrainingFailed(
                f"the cluster does not answer any more ({_reason(error)})",
                self.url,
                "a job goes on without this command",
            ) from error


def connect(address: str | None) -> JobServer:
    """The job server at ``address``, else where Ray's environment variables say, else on this machine.

    The token is sent only to a server that asks for one.  ``UserError`` within seconds when nothing answers, when
    what answers is no Ray cluster, and when it asks for a token that is missing or wrong.
    """
    url, source = _place(address)
    token = None
    status, text = _version(url, source, None)
    if status in REFUSED:
        token = token_asked_for(url)
        status, text = _version(url, source, token)
        if status in REFUSED:
            raise token_refused(url, token, status)
    try:
        version = str(json.loads(text)["ray_version"])
    except (ValueError, LookupError, TypeError):
        raise UserError(
            f"what answers is no Ray cluster ({status})", f"{url} ({source})", "give the dashboard's, http://HEAD:8265"
        ) from None
    return JobServer(url, version, token)


def crosses_network_open(server: JobServer) -> bool:
    """Whether the token travels unencrypted to another machine."""
    parts = urlsplit(server.url)
    near = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
    return server.token is not None and parts.scheme == "http" and not near


def _place(address: str | None) -> tuple[str, str]:
    """The server's URL, and who named it."""
    named = [(address, "--address"), (os.environ.get(SERVER), SERVER)]
    cluster = os.environ.get(CLUSTER, "")  # on a cluster's machines it names what speaks no HTTP
    named.append((cluster if "://" in cluster else None, CLUSTER))
    url, source = next(((text, source) for text, source in named if text), (DEFAULT, "where none is named"))
    url = (url if "://" in url else f"http://{url}").rstrip("/")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"{url} is no address of a job server", source, f"write it as {DEFAULT}")
    return url, source


def _version(url: str, source: str, token: Token | None) -> tuple[int, str]:
    try:
        return _asked("GET", f"{url}/api/version", _headers(token), None, ANSWER_S)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers ({_reason(error)})",
            f"{url} ({source})",
            "start one, or give its dashboard with --address http://HEAD:8265",
        ) from error


def _headers(token: Token | None) -> dict[str, str]:
    return token.header if token else {}


def _asked(method: str, url: str, headers: Mapping[str, str], data: bytes | None, timeout: float) -> tuple[int, str]:
    """Status and text of the answer; ``OSError`` when there is none in ``timeout`` seconds."""
    kind = {"Content-Type": "application/json"} if data and data[:1] == b"{" else {}
    request = urllib.request.Request(url, data=data, headers={**headers, **kind}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return int(answer.status), answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return int(error.code), error.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError("what answers speaks no HTTP") from error


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError | socket.timeout):
        return "no answer in time"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _unexpected(url: str, status: int, text: str) -> RunnerError:
    """An error of what the server answered with ``status``."""
    lines = text.strip().splitlines() or [""]
    if status in REFUSED:
        return UserError(f"the cluster refuses the token ({status})", url, f"set {TOKEN} to the cluster's own")
    if status == 404:
        return UserError(
            f"the cluster does not know it ({lines[0][:200]})", url, "see `runner status` for what it knows"
        )
    return TrainingFailed(f"the cluster answers {status} ({lines[-1][:300]})", url, "see the dashboard's log")


def _submission(values: Mapping[str, Any]) -> Submission:
    return Submission(
        id=str(values["submission_id"]),
        status=values["status"],
        entrypoint=values.get("entrypoint") or "",
        message=values.get("message") or "",
        metadata=values.get("metadata") or {},
        started=(values.get("start_time") or 0) / 1000.0,
        ended=(values.get("end_time") or 0) / 1000.0,
        exit_code=values.get("driver_exit_code"),
        stop_wait_s=_stop_wait_s(values.get("runtime_env") or {}),
    )


def _stop_wait_s(environment: Mapping[str, Any]) -> int:
    """Of a job with this runtime environment; what is usual where that does not say, as with other programs' jobs."""
    wait = str((environment.get("env_vars") or {}).get(STOP_WAIT))
    return int(wait) if re.fullmatch(r"[0-9]{1,5}", wait) else STOP_WAIT_S

"""What ``runner doctor`` looks at of Ray: clusters left running, who may reach them, and the token file.

Reads the process table and asks the dashboard without a token; joins nothing.
"""

import os
import pwd
import re
import stat
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.cli.checks import Check
from runner.distributed.token import ACCESS, TOKEN_FILE, TOKEN_PATH

TIMEOUT_S = 3.0
SAFE = f"stop it with `ray stop`, or start it again with {ACCESS}=token"


@dataclass(frozen=True)
class RayProcess:
    """One process of a Ray cluster on this machine, by its command line and environment."""

    owner: str
    words: tuple[str, ...]
    access: str  # the value of RAY_AUTH_MODE it was started with; empty when it cannot be read

    def option(self, name: str) -> str | None:
        """The value of ``--name=value`` or ``--name value``."""
        for place, word in enumerate(self.words):
            if word.startswith(f"--{name}="):
                return word.partition("=")[2]
            if word == f"--{name}" and place + 1 < len(self.words):
                return self.words[place + 1]
        return None


def check_clusters(processes: Path = Path("/proc")) -> list[Check]:
    """Ray clusters that run on this machine; one whose Jobs API answers without a token is a fault.

    They are never joined unless their address is given, so a closed one is only a note.
    """
    heads = ray_processes(processes, "gcs_server")
    if not heads:
        return [Check("ray cluster", "ok", "none runs on this machine")]
    dashboards = [process for process in ray_processes(processes, "dashboard.py") if process.option("port")]
    found = [_cluster(head) for head in heads]
    return [*found, *(_dashboard(process) for process in dashboards)]


def _cluster(head: RayProcess) -> Check:
    port = head.option("gcs_server_port") or "?"
    host = head.option("node-ip-address") or "127.0.0.1"
    found = f"one runs at {host}:{port}, owner {head.owner}, access {head.access or 'unknown'}"
    if head.access not in ("token", ""):
        return Check("ray cluster", "fail", found, f"anyone who reaches it can run code; {SAFE}")
    remedy = "it is joined only when a cluster file gives its address; `ray stop` ends it"
    return Check("ray cluster", "note", found, remedy)


def _dashboard(process: RayProcess) -> Check:
    host, port = process.option("host") or "127.0.0.1", process.option("port")
    reached = "127.0.0.1" if host in ("0.0.0.0", "localhost", "::") else host
    address = f"{host}:{port}"
    status = _status(f"http://{reached}:{port}/api/jobs/")
    if status is None:
        return Check("ray dashboard", "note", f"{address} does not answer", "")
    if status in (401, 403):
        return Check("ray dashboard", "ok", f"{address} asks for a token ({status})")
    if status == 404:
        return Check("ray dashboard", "ok", f"{address} serves no Jobs API")
    return Check("ray dashboard", "fail", f"{address} takes jobs from anyone, without a token ({status})", SAFE)


def _status(url: str) -> int | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return None


def ray_processes(processes: Path, program: str) -> list[RayProcess]:
    """The processes under ``processes`` (laid out like /proc) whose program or script is ``program``."""
    found = []
    for folder in sorted(processes.glob("[0-9]*")):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            owner = _user(folder.stat().st_uid)
        except OSError:
            continue  # the process has ended, or is another user's
        if any(re.search(rf"/ray/.*{re.escape(program)}$", word) for word in words[:4]):
            found.append(RayProcess(owner, tuple(words), _access(folder / "environ")))
    return found


def _access(environ: Path) -> str:
    """``token``, ``disabled``; empty for another user's process, and for one whose environment does not say."""
    try:
        settings = environ.read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((line.partition(b"=")[2].decode() for line in settings if line.startswith(f"{ACCESS}=".encode())), "")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def check_token_file(path: Path | None = None) -> Check:
    """Whether Ray's access token, if there is one, can be read by its owner alone.

    Of a file that ``RAY_AUTH_TOKEN_PATH`` names that is a note: it may be shared, or mounted, on purpose.
    """
    named = os.environ.get(TOKEN_PATH)
    path = (path or Path(named or TOKEN_FILE)).expanduser()
    open_to_others: Literal["note", "fail"] = "note" if named else "fail"
    try:
        facts = path.stat()
    except OSError:
        return Check("ray token", "ok", f"no file yet at {path}; one is made when Ray starts here")
    mode, owner = stat.S_IMODE(facts.st_mode), _user(facts.st_uid)
    found = f"{path} has mode {mode:04o}, owner {owner}"
    if mode & 0o077:
        return Check("ray token", open_to_others, found, f"chmod 600 {path}")
    if not named and facts.st_uid != os.getuid():
        return Check("ray token", "fail", found, "remove it; it is another user's")
    return Check("ray token", "ok", found)

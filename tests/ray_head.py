"""A real Ray cluster of this machine with token authentication, as `ray start` makes it; it ends with its block."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from runner.distributed.job_server import JobServer
from runner.distributed.token import Token
from runner.errors import RunnerError

START_S = 90.0
BIN = Path(sys.executable).parent  # where `ray` and `runner` are


@dataclass(frozen=True)
class Head:
    """A running cluster; ``home`` is that of its machines' user, ``environment`` that of who may use it."""

    address: str  # of its job server
    joined_at: str  # what drivers and nodes join
    home: Path
    environment: dict[str, str]
    sessions: Path  # where Ray keeps its logs, and files of jobs and of their environments


@contextmanager
def ray_cluster(folder: Path, *, nodes: int = 1, cpus: int = 2, **variables: str) -> Iterator[Head]:
    """A cluster of ``nodes`` that have ``cpus`` each, with a token of its own; its files lie in ``folder``.

    ``variables`` are set in the environment of its machines.
    """
    home, token = folder / "home", folder / "token"
    home.mkdir()
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    user = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "PATH": path}
    machine = {
        **os.environ,
        **user,
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **variables,
    }
    port, dashboard, *agents = free_ports(2 + nodes)
    with ExitStack() as stack:
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        common = ["--block", f"--num-cpus={cpus}", "--min-worker-port=0", "--max-worker-port=0"]
        head = ["--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={sockets}"]
        roles = [[*head, "--include-dashboard=true"], *([f"--address=127.0.0.1:{port}"] for _ in range(nodes - 1))]
        server = JobServer(f"http://127.0.0.1:{dashboard}", "", Token(token.read_text(), str(token)))
        for role, agent in zip(roles, agents, strict=True):
            words = [*role, *common, "--node-ip-address=127.0.0.1", f"--dashboard-agent-listen-port={agent}"]
            command: list[str | Path] = [BIN / "ray", "start", *words]
            stack.enter_context(started(command, machine, folder / f"node-{agent}.log"))
            _await_nodes(server, roles.index(role) + 1)
        yield Head(server.url, f"127.0.0.1:{port}", home, user, Path(sockets))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in found]


@contextmanager
def started(command: list[str | Path], environment: dict[str, str], log: Path) -> Iterator[int]:
    """The process id of a node that ``command`` starts; whatever it started is gone afterwards."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        yield process.pid
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while not all(map(_gone, family)) and time.monotonic() < deadline:
            time.sleep(0.05)


def _gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)  # not every first process of a container buries orphans
    except psutil.NoSuchProcess:
        return True


def _await_nodes(server: JobServer, count: int) -> None:
    """Come back when ``count`` nodes are there and jobs are taken; a server that starts refuses all of it at first."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            if len(server.nodes()) == count and not server.submissions():
                return
        except RunnerError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.3)

"""A real Ray cluster of this machine whose nodes share the network and nothing else.

Each node is in a mount namespace of its own: temporary folder, home and shared memory are empty there at first and are
gone with it.  What is installed, they all see.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ray_head import BIN, START_S, free_ports, started

TEMPORARY = Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Node:
    """A node until ``lose``."""

    pid: int
    life: ExitStack

    def seen(self, path: Path) -> Path:
        """What the node has at ``path``, as this process finds it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def lose(self) -> None:
        """``kill -9`` of all its processes; its files are gone with them."""
        self.life.close()


@dataclass
class Nodes:
    """A head without cores, and nodes of one core each, that end with ``life``; ``environment`` is for who joins.

    ``sessions`` is where the head keeps its logs; the others have theirs in their temporary folders.
    """

    folder: Path
    sessions: Path
    address: str
    environment: dict[str, str]
    life: ExitStack
    added: list[Node] = field(default_factory=list)

    def add(self) -> Node:
        """One more node, which has an address of its own."""
        number = len(self.added) + 2
        own = [f"mount -t tmpfs none {place}" for place in (TEMPORARY, "/dev/shm")]
        join = f"exec {BIN}/ray start --address={self.address} {options(f'127.0.0.{number}', cores=1)}"
        script = " && ".join([*own, f"mkdir -p {self.folder}/home", "cd /", join])
        life = self.life.enter_context(ExitStack())
        command: list[str | Path] = ["unshare", "--mount", "sh", "-c", script]
        node = Node(life.enter_context(started(command, self._machine(), log := self._log(number))), life)
        _await(log)
        self.added.append(node)
        return node

    def start_head(self) -> None:
        """The head, where the command is typed."""
        port = self.address.rpartition(":")[2]
        command: list[str | Path] = [BIN / "ray", "start", "--head", f"--port={port}", f"--temp-dir={self.sessions}"]
        command += ["--include-dashboard=false", *options("127.0.0.1", cores=0).split()]
        self.life.enter_context(started(command, self._machine(), log := self._log(1)))
        _await(log)

    def _machine(self) -> dict[str, str]:
        own = {"HOME": f"{self.folder}/home", "OMP_NUM_THREADS": "1"}
        return {**os.environ, **self.environment, **own}

    def _log(self, number: int) -> Path:
        return self.folder / f"node-{number}.log"


@contextmanager
def nodes_apart(folder: Path) -> Iterator[Nodes]:
    """A cluster with a token of its own, of a head at first; logs of its nodes lie in ``folder``."""
    (port,) = free_ports(1)
    user = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    user["RAY_worker_niceness"] = "0"  # Ray's own 15 lets others starve it
    with ExitStack() as life:
        sockets = life.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        (folder / "home").mkdir(parents=True)
        nodes = Nodes(folder, Path(sockets), f"127.0.0.1:{port}", user, life)
        nodes.start_head()
        yield nodes


def options(ip: str, *, cores: int) -> str:
    """What all nodes are started with."""
    ports = "--min-worker-port=0 --max-worker-port=0"
    return f"--block --num-cpus={cores} --node-ip-address={ip} {ports}"


def _await(log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "Ray runtime started" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)

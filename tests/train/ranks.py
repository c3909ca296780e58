"""Small jobs trained by several processes, over gloo on CPUs or over NCCL on a GPU each, under any strategy."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RANK = """
import json, sys, torch
from pathlib import Path
import torch.distributed as dist
from test_loop import small_job
from runner.runs import MetricsLog, RunFolder
from runner.runs.trackers import open_trackers
from runner.train.loop import train
from runner.train.reporter import FileReporter, SilentReporter
from runner.train.world import World
torch.set_num_threads(1)
cache, kind, port, size, rank = Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]), int(sys.argv[5])
device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
if kind == "cuda":
    torch.cuda.set_device(device)
backend = "nccl" if kind == "cuda" else "gloo"
dist.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
world = World(rank, size, device)
stop_after, jobs = json.loads(sys.argv[6])
class Stopping(FileReporter):
    def record(self, record):
        super().record(record)
        if (record["kind"], record["step"]) == ("train", stop_after):
            self._stop_file.touch()
for root, changes in jobs.items():
    folder = RunFolder(Path(root))
    log = MetricsLog(folder.metrics_file)
    plain = Stopping(log, lambda step: open_trackers((), folder, step=step), Path(root) / "stop-requested")
    train(small_job(**changes), folder, world, plain if rank == 0 else SilentReporter(), cache=cache)
dist.destroy_process_group()
"""
LIMIT_S = 240.0


def train_together(
    jobs: Mapping[Path, Mapping[str, Any]], cache: Path, *, ranks: int, kind: str = "cpu", stop_after: int | None = None
) -> None:
    """Train each ``small_job`` with changes into its folder, one after another, by ``ranks`` processes together.

    The first of them is asked to stop when step ``stop_after`` is in its record.
    """
    for root in jobs:
        root.mkdir(parents=True, exist_ok=True)
    given = json.dumps([stop_after, {str(root): changes for root, changes in jobs.items()}])
    run_ranks([[sys.executable, "-c", RANK, str(cache), kind, free_port(), str(ranks)]] * ranks, given)


def run_ranks(commands: list[list[str]], *last: str) -> None:
    """Run each command with its rank and ``last`` behind it, all at once, and see that all end well."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    processes = [
        subprocess.Popen([*command, str(rank), *last], env=environment) for rank, command in enumerate(commands)
    ]
    try:
        assert [process.wait(timeout=LIMIT_S) for process in processes] == [0] * len(commands)
    finally:
        for process in processes:
            process.kill()


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


def records(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def losses(root: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in records(root) if record["kind"] == "train"}


def validations(root: Path) -> list[float]:
    return [record["loss"] for record in records(root) if record["kind"] == "validation"]

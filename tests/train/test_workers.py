"""Two workers against one: the same documents in every step, the same losses."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_loop import Recorder, run, small_job

from runner.data.order import packs_of_step
from runner.train.batches import Batches

RANK = """
import sys, torch
from pathlib import Path
import torch.distributed as dist
sys.path.insert(0, sys.argv[4])
from test_loop import small_job
from runner.runs import MetricsLog, RunFolder
from runner.runs.trackers import open_trackers
from runner.train.loop import train
from runner.train.reporter import FileReporter, SilentReporter
from runner.train.world import World
torch.set_num_threads(1)
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{sys.argv[5]}", rank=rank, world_size=2)
root = Path(sys.argv[2])
folder = RunFolder(root)
world = World(rank, 2, torch.device("cpu"))
log = MetricsLog(folder.metrics_file)
plain = FileReporter(log, lambda step: open_trackers((), folder, step=step), root / "stop-requested")
train(small_job(lora__dropout=0.0), folder, world, plain if rank == 0 else SilentReporter(), cache=Path(sys.argv[3]))
dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_two_workers_give_the_losses_of_one(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    port = str(free_port())
    paths = [str(tmp_path / "two"), str(tmp_path / "cache"), str(Path(__file__).parent), port]
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), *paths]) for rank in (0, 1)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    _, alone = run(small_job(lora__dropout=0.0), tmp_path / "one", tmp_path / "cache")
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    together = {r["step"]: r["loss"] for r in map(json.loads, lines) if r["kind"] == "train"}
    assert together.keys() == alone.losses().keys()
    for step, loss in alone.losses().items():
        assert together[step] == pytest.approx(loss, abs=1e-5), f"step {step}"
    assert validations(lines) == pytest.approx(recorded(alone), abs=1e-5)


def validations(lines: list[str]) -> list[float]:
    return [float(r["loss"]) for r in map(json.loads, lines) if r["kind"] == "validation"]


def recorded(recorder: Recorder) -> list[float]:
    return [float(str(r["loss"])) for r in recorder.records if r["kind"] == "validation"]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_all_ranks_together_see_the_packs_of_the_step_once(ranks: int, tmp_path: Path) -> None:
    from runner.data import prepare
    from runner.model.tokenizer import load_encoder

    job = small_job()
    split = prepare(job.data, load_encoder(job.model), cache=tmp_path).train
    cpu = torch.device("cpu")
    views = [Batches(split, buffers_per_step=4, rows=1, seed=3, rank=r, ranks=ranks, device=cpu) for r in range(ranks)]
    for step in range(1, 6):
        batches = [view.of_step(step) for view in views]
        seen = sorted(micro.first_pack for batch in batches for micro in batch.micro_batches)
        assert seen == sorted(packs_of_step(len(split), 4, step, 3).tolist())
        assert len({batch.learned for batch in batches}) == 1


def test_every_pack_comes_once_an_epoch_in_another_order_each_time() -> None:
    packs, a_step = 10, 5
    epochs = [np.concatenate([packs_of_step(packs, a_step, 2 * e + s, 7) for s in (1, 2)]) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(packs))
    assert not np.array_equal(epochs[0], epochs[1])

"""Two workers of a run in a bucket, on machines that share no disk: killed, and gone on with the other way round."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import bucket_rank
import pytest
from bucket_rank import KILLED, SAVED, STEPS, Turn

from runner.distributed.kept import Bucket
from runner.distributed.outcome import Outcome, read_outcome
from runner.runs import RunFolder
from runner.runs.remote.bringing import bring_folder, bring_records
from runner.runs.remote.register import Holder, Register
from runner.runs.remote.store import Store
from typed_runs import losses, weights

pytestmark = pytest.mark.slow
LIMIT_S = 240.0


def together(cache: Path, *ranks: list[Turn]) -> None:
    """Both ranks, until all their turns have ended well or were killed."""
    tests = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    turns = json.dumps([[asdict(turn) for turn in turns] for turns in ranks])
    command = [sys.executable, bucket_rank.__file__, str(cache), turns]
    assert subprocess.run(command, env=environment, timeout=LIMIT_S, check=False).returncode == 0


@pytest.mark.usefixtures("s3_port")
def test_two_workers_without_a_common_disk_are_killed_change_places_and_give_the_bits_of_two_in_a_folder(
    tmp_path: Path, cache: Path
) -> None:
    run = Store("s3://bucket/runs/demo")
    holder = Holder("launcher", "host", 1, "2026", "place")
    Register(run).advance(lambda entry: replace(entry, holder=holder))
    bucket = asdict(Bucket(run.url, "launcher", 30.0))
    here, there, folder = (str(tmp_path / name) for name in ("here", "there", "folder"))
    killed = [Turn(machine, "one", bucket, killed=True) for machine in (here, there)]
    together(cache, [killed[0]], [killed[1]])
    assert (Path(here) / "checkpoints" / f"step-{KILLED:06d}").is_dir()
    assert f"checkpoints/step-{SAVED:06d}" in (published := Register(run).newest().folders)
    assert f"checkpoints/step-{KILLED:06d}" not in published
    assert not (Path(there) / "checkpoints").exists()
    shutil.rmtree(Path(here) / "checkpoints" / f"step-{SAVED:06d}")  # as where fewer are kept

    in_folder = Turn(folder, "alone")
    together(cache, [Turn(there, "two", bucket), in_folder], [Turn(here, "two", bucket), in_folder])
    assert isinstance(read_outcome(Path(there), "two"), Outcome)
    assert isinstance(read_outcome(Path(folder), "alone"), Outcome)
    entry, brought = Register(run).newest(), RunFolder((tmp_path / "brought").resolve())
    bring_records(run, entry, brought)
    for name in ("final", "best"):
        bring_folder(run, entry, brought, name)
        of_one = brought.root / name / "adapter_model.safetensors"
        assert of_one.read_bytes() == (Path(folder) / name / "adapter_model.safetensors").read_bytes()
    assert weights(brought.root) == weights(Path(there))
    assert losses(brought.root) == losses(Path(there)) == losses(Path(folder))
    assert list(losses(brought.root)) == list(range(1, STEPS + 1))
    assert f"resumed after step {SAVED}, 2 workers" in brought.metrics_file.read_text()

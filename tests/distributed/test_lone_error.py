"""An error that one of two workers meets alone ends both, through Ray, whether they see one disk or two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long]
LIMIT_S = 200.0  # Ray lets a worker wait for another for half an hour

LAUNCH = """
import sys
from importlib import import_module
from pathlib import Path

from finished_run import small_job
from runner.config.cluster import Cluster
from runner.distributed.launch import launch
from runner.errors import RunnerError

storage, disks = sys.argv[1:]

def work(config):
    from runner.distributed import outcome, worker
    from runner.errors import UserError

    def trained(job, folder, world, assignment, mirror):
        if world.rank == 1:
            raise UserError("no token for the hub", "this machine", "set HF_TOKEN")
        return world.from_lead(5)

    worker._trained = trained
    if disks == "two":  # nobody reads there what this one writes
        outcome.write_error = lambda *_: None
    worker.work(config)

import_module("runner.distributed.launch").work = work
cluster = Cluster(storage=storage, workers=2, cpus_per_worker=1, max_failures=1)
try:
    launch(small_job(), cluster, resume="auto", follow=lambda *_: None, launched_at=0.0, cache=Path(storage) / "cache")
except RunnerError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("disks", ["one", "two"])
def test_the_others_do_not_wait_for_it_and_it_is_told(disks: str, tmp_path: Path, home: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", LAUNCH, str(tmp_path), disks]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.stdout.splitlines()[-1:] == ["UserError no token for the hub; this machine; set HF_TOKEN"], done.stderr

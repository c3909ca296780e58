"""A folder that one node of a cluster does not see is refused before anything is trained there."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_head import BIN
from runner.config.cluster import Cluster
from runner.distributed.ray_session import living_nodes, ray_session
from runner.distributed.shared_folder import check_seen_by_all
from runner.errors import UserError

START_S = 90.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a folder from a process"),
]


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A folder in whose place the second node sees an empty one."""
    (tmp_path / "hidden" / "run").mkdir(parents=True)
    return tmp_path / "hidden"


@pytest.fixture
def address(hidden: Path, tmp_path: Path) -> Iterator[str]:
    """A cluster of two nodes."""
    from ray.cluster_utils import Cluster as Raylets

    nodes = Raylets(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    join = f"{BIN}/ray start --address={nodes.address} --num-cpus=1 --block"
    script = f"mount -t tmpfs none {hidden} && exec {join}"
    with (tmp_path / "node.log").open("w") as log:
        second = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=log, stderr=log)
    yield str(nodes.address)
    second.terminate()
    second.wait()
    nodes.shutdown()


def test_a_folder_that_a_node_does_not_see_is_refused_and_one_that_all_see_is_not(
    address: str, hidden: Path, tmp_path: Path
) -> None:
    with ray_session(Cluster(address=address)):
        deadline = time.monotonic() + START_S
        while len(living_nodes()) < 2:
            assert time.monotonic() < deadline, (tmp_path / "node.log").read_text()
            time.sleep(0.2)
        check_seen_by_all(tmp_path, living_nodes())
        with pytest.raises(UserError, match=r"1 of 2 nodes do not see the folder of the run .*--storage .*hidden"):
            check_seen_by_all(hidden / "run", living_nodes())
    assert not list(hidden.rglob("seen-by-all*"))
    assert not list(tmp_path.glob("seen-by-all*"))

"""Workers come and go with the nodes of a cluster: the losses stay those of one worker that was left alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from processes import end, wait_for
from runner.runs import read_metrics
from typed_runs import STEPS, losses, train

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def raylets() -> Iterator[Any]:
    """A Ray cluster with a head of one CPU, to which nodes are added and taken."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield nodes
    nodes.shutdown()


def resumed(run: Path) -> list[str]:
    return [str(record["text"]) for record in read_metrics(run / "metrics.jsonl") if record.get("name") == "resumed"]


def test_a_node_that_comes_is_used_and_one_that_goes_is_done_without(raylets: Any, home: Path, tmp_path: Path) -> None:
    end(train(tmp_path / "alone", home), 0)
    expected = losses(tmp_path / "alone" / "demo")
    profile = tmp_path / "elastic.yaml"
    profile.write_text(f"address: {raylets.address}\nworkers: 2\nmin_workers: 1\ncpus_per_worker: 1\nresize_s: 1\n")
    process, run = train(tmp_path, home, "--cluster", str(profile)), tmp_path / "demo"
    wait_for(lambda: len(losses(run)) >= 6, process)
    node = raylets.add_node(num_cpus=1)
    wait_for(lambda: len(resumed(run)) == 1, process)
    wait_for(lambda: max(losses(run)) >= 17, process)
    raylets.remove_node(node, allow_graceful=False)
    output = end(process, 0)
    assert "1 to 2 workers" in output
    grown, shrunk = resumed(run)
    assert grown.endswith(", 2 workers")
    assert "workers" not in shrunk
    assert losses(run).keys() == expected.keys() == set(range(1, STEPS + 1))
    assert max(abs(loss - expected[step]) for step, loss in losses(run).items()) < 1e-5

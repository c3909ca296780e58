"""Nodes of a Ray cluster lost while they train: the run goes on on another one, and ends with the same bits."""

import itertools
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray_faults import PATIENCE_S, STEPS, WORKER, await_new_step, finish, pause, reached, same, spread, started

from processes import end
from ray_head import BIN
from runner.runs import RunFolder, read_state

LOSSES_A_RUN = 2


ADDRESSES = (f"127.0.0.{number}" for number in itertools.count(2))


def add_node(cluster: Any) -> None:
    """One more machine, which has an address of its own: a command joins the node of its own address, the head."""
    cluster.add_node(num_cpus=1, node_ip_address=next(ADDRESSES))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of one core each, each with a raylet of its own."""
    from ray.cluster_utils import Cluster

    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")  # Ray's own 15 lets others starve it
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            add_node(found)
        yield found
    finally:
        found.shutdown()


def raylet_of(node: Any) -> psutil.Process:
    (raylet,) = node.all_processes["raylet"]
    return psutil.Process(raylet.process.pid)


def node_that_trains(cluster: Any) -> Any:
    """The node under whose raylet the worker runs; waited for, since a worker may just be started anew."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for node in cluster.worker_nodes:
            with suppress(psutil.NoSuchProcess):
                family = raylet_of(node).children(recursive=True)
                if any(WORKER in " ".join(member.cmdline()) for member in family):
                    return node
        time.sleep(0.1)
    raise AssertionError("no node trains")


@pytest.mark.parametrize("losses", [pytest.param(2, marks=pytest.mark.long), pytest.param(10, marks=pytest.mark.chaos)])
def test_a_run_whose_node_is_lost_goes_on_elsewhere_with_the_same_bits(
    losses: int, cluster: Any, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chooser, whole, address = random.Random(41), tmp_path / "whole", ("--address", cluster.address)
    finish(started(whole, home, *address))
    lost = runs = identical = 0
    seconds: list[float] = []
    while lost < losses:
        storage = tmp_path / f"storage-{runs}"
        process = started(storage, home, *address)
        await_new_step(storage, process, 0)
        for _ in range(min(LOSSES_A_RUN, losses - lost)):
            pause(chooser)
            if process.poll() is not None:
                break  # it had trained its last step by then
            node, killed_at = node_that_trains(cluster), time.monotonic()
            raylet_of(node).send_signal(signal.SIGKILL)
            before = reached(storage)
            await_new_step(storage, process, before)
            seconds.append(time.monotonic() - killed_at)
            lost += 1
            cluster.remove_node(node, allow_graceful=False)
            add_node(cluster)
        finish(process)
        identical += same(storage, whole)
        runs += 1
        with capsys.disabled():
            print(
                f"\n{lost} nodes lost, {len(seconds)} recovered from; {runs} runs, {identical} with the losses and "
                f"weights of one left alone to the bit; from the loss to the next new step {spread(seconds)}"
            )
    assert identical == runs


@pytest.mark.long
def test_a_run_whose_node_is_drained_saves_and_goes_on_elsewhere(cluster: Any, home: Path, tmp_path: Path) -> None:
    storage, whole, address = tmp_path / "runs", tmp_path / "whole", ("--address", cluster.address)
    finish(started(whole, home, *address))
    process = started(storage, home, *address)
    await_new_step(storage, process, 5)
    leaving = node_that_trains(cluster)
    asked = time.monotonic()
    words = ["drain-node", "--address", cluster.address, "--node-id", leaving.node_id]
    words += [
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        "spot",
        "--deadline-remaining-seconds",
        "60",
    ]
    subprocess.run([BIN / "ray", *words], check=True, capture_output=True)
    assert "everything is saved" in end(process, 75)
    assert time.monotonic() - asked < 30
    done = reached(storage)
    assert done < STEPS
    state = read_state(RunFolder(storage / "demo").state_file)
    assert state is not None
    assert (state.state, state.step, state.reason) == ("stopped", done, "a machine is taken away")
    add_node(cluster)
    finish(started(storage, home, *address))
    assert same(storage, whole)

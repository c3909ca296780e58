"""Runs in a bucket on nodes that share no disk: nodes are lost and come, and every bit is that of a run in a folder."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bucket_server import KEY, SECRET
from nodes_apart import TEMPORARY, Node, Nodes, nodes_apart
from processes import end, start, wait_for
from runner.runs import RunFolder, read_metrics
from runner.runs.remote.bringing import bring_folder, bring_records
from runner.runs.remote.layout import copies
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store
from typed_runs import losses, train, weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a node disks of its own"),
    pytest.mark.usefixtures("s3_port"),
]
URL = "s3://bucket/runs"
STEPS = ("-o", "train.steps=80")
LIMIT_S = 1200.0  # some minutes on a machine that does nothing else


@pytest.fixture
def nodes(tmp_path: Path, s3_port: int) -> Iterator[Nodes]:
    assert s3_port
    with nodes_apart(tmp_path / "cluster") as found:
        yield found


def of_two_in_a_folder(root: Path, home: Path) -> Path:
    """The run of two workers on one machine, kept in a folder."""
    from ray.cluster_utils import Cluster

    raylets = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    end(train(root, home, "--address", raylets.address, "--workers", "2", *STEPS), 0)
    raylets.shutdown()
    return root / "demo"


def begun(nodes: Nodes, machine: Path, **profile: int) -> "subprocess.Popen[str]":
    """`runner train` on the nodes as it is typed on ``machine``."""
    machine.mkdir(exist_ok=True)
    lines = {"address": nodes.address, "cpus_per_worker": 1, **profile}
    (machine / "cluster.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    words = ("--cluster", str(machine / "cluster.yaml"), *STEPS)
    return train(URL, machine, *words, own_group=False, **nodes.environment)


def copy_on(machine: Path) -> Path:
    """Where the run lies on a machine."""
    return copies(machine / ".cache" / "runner", URL) / "demo"


def told(machine: Path) -> list[str]:
    """What the command typed on ``machine`` has heard of going on."""
    records = read_metrics(copy_on(machine) / "metrics.jsonl")
    return [str(record["text"]) for record in records if record.get("name") == "resumed"]


def writing(nodes: list[Node], machine: Path) -> Node:
    """The node of rank 0: the folder lies there under the path that it has where the command was typed."""
    (found,) = [node for node in nodes if (node.seen(copy_on(machine)) / "checkpoints").is_dir()]
    return found


def await_published(process: "subprocess.Popen[str]", step: int) -> None:
    """Come back when a checkpoint after ``step`` or later is in the bucket."""
    run = Register(Store(f"{URL}/demo"))
    later = f"checkpoints/step-{step:06d}"
    wait_for(lambda: max(run.newest().folders, default="") >= later, process, timeout_s=LIMIT_S)


def brought(root: Path) -> Path:
    """The run as the bucket has it."""
    store, folder = Store(f"{URL}/demo"), RunFolder(root.resolve())
    entry = Register(store).newest()
    bring_records(store, entry, folder)
    for name in ("best", "final"):
        bring_folder(store, entry, folder, name)
    return folder.root


def same(one: Path, other: Path) -> bool:
    """Whether both runs have the same losses and weights, to the bit."""
    best = Path("best", "adapter_model.safetensors")
    return (
        losses(one) == losses(other)
        and weights(one) == weights(other)
        and (one / best).read_bytes() == (other / best).read_bytes()
    )


def lost_with_all(process: "subprocess.Popen[str]", nodes: list[Node]) -> None:
    """``kill -9`` of the command and of all nodes that train."""
    family = psutil.Process(process.pid).children(recursive=True)
    for member in (psutil.Process(process.pid), *family):
        member.kill()
    process.communicate()
    for node in nodes:
        node.lose()


def holding(secrets: list[bytes], places: list[Path]) -> list[Path]:
    """Files below ``places`` in which one of ``secrets`` stands."""
    files = [path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 100
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_two_workers_lose_the_node_that_writes_and_then_everything_and_go_on_where_nothing_lies(
    nodes: Nodes, home: Path, tmp_path: Path
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    whole = of_two_in_a_folder(tmp_path / "whole", home)

    working = [nodes.add(), nodes.add()]
    process = begun(nodes, first, workers=2)
    await_published(process, 10)
    leading = writing(working, first)
    assert not any(node.seen(first / "cluster.yaml").exists() for node in working)
    leading.lose()
    working = [*(node for node in working if node is not leading), nodes.add()]
    wait_for(lambda: len(told(first)) == 1, process, timeout_s=LIMIT_S)
    (resumed,) = told(first)
    assert resumed.endswith(", 2 workers")
    step = int(resumed.split()[3].rstrip(","))
    await_published(process, step + 10)
    lost_with_all(process, working)

    run = Store(f"{URL}/demo")
    holder = Register(run).newest().holder
    assert holder is not None
    run.delete([f"heartbeats/{holder.identity}"])  # as after a minute of silence
    working = [nodes.add(), nodes.add()]
    output = end(begun(nodes, second, workers=2), 0, timeout_s=LIMIT_S)
    assert output.count(", 2 workers") >= 2
    assert f"in {URL}/demo, and on this machine in {copy_on(second)}" in output
    assert f"runner evaluate demo --storage {URL}" in output
    assert "demo  finished at step 80 of 80" in output
    assert len(told(second)) == 2
    assert losses(copy_on(second)) == losses(whole)
    assert same(brought(tmp_path / "brought"), whole)
    shown = end(start(third, "show", "demo", "--storage", URL), 0)
    assert shown.startswith("demo  finished at step 80 of 80")

    secrets = [KEY.encode(), SECRET.encode(), nodes.environment["RAY_AUTH_TOKEN"].encode()]
    places = [tmp_path, nodes.sessions, *(node.seen(TEMPORARY) for node in working)]
    assert not holding(secrets, places)
    assert not [key for key in run.keys("") if any(secret in run.read(key) for secret in secrets)]
    assert not [secret for secret in secrets if secret.decode() in output + shown]


def test_a_run_in_a_bucket_takes_a_node_that_comes_and_does_without_one_that_goes(
    nodes: Nodes, home: Path, tmp_path: Path
) -> None:
    whole, machine = tmp_path / "whole", tmp_path / "machine"
    end(train(whole, home, *STEPS), 0)
    working = [nodes.add()]
    process = begun(nodes, machine, workers=2, min_workers=1, resize_s=1)
    await_published(process, 10)
    working.append(nodes.add())
    wait_for(lambda: len(told(machine)) == 1, process, timeout_s=LIMIT_S)
    await_published(process, int(told(machine)[0].split()[3].rstrip(",")) + 10)
    assert told(machine)[0].endswith(", 2 workers")
    working[-1].lose()
    output = end(process, 0, timeout_s=LIMIT_S)
    grown, shrunk = told(machine)
    assert "workers" not in shrunk
    assert grown in output
    assert shrunk in output
    assert same(brought(tmp_path / "brought"), whole / "demo"), "a buffer each, or both: their sum is the same"

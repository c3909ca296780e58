"""`runner search` into a bucket on machines that share no disk: all of them lost, gone on with on others."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from bucket_server import KEY, SECRET
from nodes_apart import Nodes, nodes_apart
from processes import end, start, wait_for
from runner.runs.remote.layout import copies
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store
from typed_searches import SEARCH, answer, measurements, search, study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a node disks of its own"),
    pytest.mark.usefixtures("s3_port"),
]
URL = "s3://bucket/searches"
LIMIT_S = 1200.0  # some minutes on a machine that does nothing else


def typed(nodes: Nodes, machine: Path, *words: str) -> "subprocess.Popen[str]":
    """`runner search` on the nodes as it is typed on ``machine``."""
    machine.mkdir(exist_ok=True)
    (machine / "search.yaml").write_text(json.dumps(SEARCH))
    (machine / "cluster.yaml").write_text(f"address: {nodes.address}\ncpus_per_worker: 1\n")
    line = ("search", str(machine / "search.yaml"), "--storage", URL, "--cluster", str(machine / "cluster.yaml"))
    return start(machine, *line, *words, own_group=False, **nodes.environment)


def storage_on(machine: Path) -> Path:
    """Where searches of the bucket lie on a machine."""
    return copies(machine / ".cache" / "runner", URL)


def test_the_nodes_and_the_machine_lost_it_goes_on_on_others_with_the_answer_of_one_left_alone(
    home: Path, tmp_path: Path
) -> None:
    end(search(tmp_path / "whole", home), 0)
    first, second = tmp_path / "first", tmp_path / "second"
    with nodes_apart(tmp_path / "cluster") as nodes:
        lost = nodes.add()
        process = typed(nodes, first)
        wait_for(lambda: measurements(storage_on(first)) >= 4, process, timeout_s=LIMIT_S)
        assert (lost.seen(storage_on(first)) / "tiny").is_dir(), "the node works in a folder of its own"
        family = psutil.Process(process.pid).children(recursive=True)
        for member in (psutil.Process(process.pid), *family):
            member.kill()
        process.communicate()
        lost.lose()
        shutil.rmtree(first)
        run = Store(f"{URL}/tiny")
        holder = Register(run).newest().holder
        assert holder is not None
        run.delete([f"heartbeats/{holder.identity}"])  # as after a minute of silence
        nodes.add()
        output = end(typed(nodes, second, "--resume"), 0, timeout_s=LIMIT_S)
    assert f"kept in   {URL}/tiny" in output
    assert study(storage_on(second)) == study(tmp_path / "whole")
    assert answer(storage_on(second)) == answer(tmp_path / "whole")
    secrets = (KEY.encode(), SECRET.encode())
    assert not [key for key in run.keys("") if any(secret in run.read(key) for secret in secrets)]
    kept = [path for path in second.rglob("*") if path.is_file()]
    assert len(kept) > 10
    assert not [path for path in kept if any(secret in path.read_bytes() for secret in secrets)]
    (tmp_path / "third").mkdir()
    page = end(start(tmp_path / "third", "report", "tiny", "--storage", URL), 0)
    assert "page " in page
    assert "search.html" in page

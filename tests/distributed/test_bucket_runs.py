"""`runner train --storage s3://...` as a user types it: killed, gone on with on another machine, refused, looked at."""

import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from bucket_server import KEY, SECRET, ask_for_credentials
from processes import end, start, wait_for
from runner.runs.remote.layout import copies
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store
from typed_runs import STEPS, losses, train, weights

pytestmark = pytest.mark.slow
URL = "s3://bucket/runs"


def published(run: Store) -> int:
    return sum(name.startswith("checkpoints/") for name in Register(run).newest().folders)


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.usefixtures("s3_port")
def test_killed_and_gone_on_with_on_another_machine_the_run_is_that_of_a_folder_to_the_bit(
    home: Path, tmp_path: Path, workers: str
) -> None:
    def train_there(storage: str | Path, here: Path) -> "subprocess.Popen[str]":
        return train(storage, here, "--workers", workers)

    end(train_there(tmp_path / "whole", home), 0)
    run = Store(f"{URL}/demo")
    process = train_there(URL, home)
    wait_for(lambda: published(run) >= 2, process)
    family = psutil.Process(process.pid).children(recursive=True)
    for member in (psutil.Process(process.pid), *family):
        member.kill()
    psutil.wait_procs(family, timeout=30)
    elsewhere = tmp_path / "another-machine"
    elsewhere.mkdir()
    told = end(start(elsewhere, "runs", "--storage", URL), 0)
    assert "running" in told, "not yet silent for long"
    holder = Register(run).newest().holder
    assert holder is not None
    assert holder.pid == process.pid
    run.delete([f"heartbeats/{holder.identity}"])  # as after a minute of silence
    assert "stopped" in end(start(elsewhere, "runs", "--storage", URL), 0)
    process = train_there(URL, elsewhere)
    copy = copies(elsewhere / ".cache" / "runner", URL) / "demo"
    wait_for(lambda: len(losses(copy)) >= 18, process)
    process.terminate()
    output = end(process, 75)
    assert "resumed after step" in output
    assert f"everything is saved; {URL}/demo; run it again to go on" in output
    stopped = Register(run).newest()
    assert stopped.holder is None
    assert stopped.state is not None
    assert stopped.state["state"] == "stopped"
    assert f"checkpoints/step-{stopped.state['step']:06d}" in stopped.folders, "what was saved at last is there"
    shutil.rmtree(copy.parent)
    assert f"resumed after step {stopped.state['step']}" in end(train_there(URL, elsewhere), 0)
    assert losses(copy) == losses(tmp_path / "whole" / "demo")
    assert len(losses(copy)) == STEPS
    assert weights(copy) == weights(tmp_path / "whole" / "demo")
    last = Register(run).newest()
    assert last.holder is None
    place = last.folders["final"]
    assert run.read(f"{place}/adapter_model.safetensors") == weights(copy)
    kept = [path for root in (home, elsewhere, tmp_path / "whole") for path in root.rglob("*") if path.is_file()]
    assert len(kept) > 20
    secrets = (KEY.encode(), SECRET.encode())
    assert not [path for path in kept if any(secret in path.read_bytes() for secret in secrets)]
    assert not [key for key in run.keys("") if any(secret in run.read(key) for secret in secrets)]
    assert "had ended before" in end(train_there(URL, elsewhere), 0)
    end(start(home, "export", "demo", "--storage", URL, "--no-measure"), 0)
    exported = copies(home / ".cache" / "runner", URL) / "demo" / "export" / "adapter"
    assert (exported / "adapter_model.safetensors").read_bytes() == weights(copy)


def test_what_is_wrong_with_a_bucket_is_told_before_anything_is_prepared(s3_port: int, tmp_path: Path) -> None:
    (missing,) = end(train("s3://missing/runs", tmp_path), 2).splitlines()[-1:]
    assert missing.startswith("error: there is no bucket missing; s3://missing/runs at http://127.0.0.1:")
    ask_for_credentials(s3_port, after=0)
    (refused,) = end(train(URL, tmp_path), 2).splitlines()[-1:]
    assert refused.startswith("error: the storage refuses the credentials (InvalidAccessKeyId); s3://bucket/runs")
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    (unreachable,) = end(train(URL, tmp_path), 2).splitlines()[-1:]
    assert unreachable.startswith("error: the storage does not answer (EndpointConnectionError); s3://bucket/runs")
    assert not list(tmp_path.rglob("shards*")), "no data were prepared"

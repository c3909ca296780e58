"""Jobs on a real Ray cluster with token authentication, by Ray's command and by ours: failing, stopped, going on."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bucket_server import KEY, SECRET
from processes import end, start
from ray_head import BIN, Head, ray_cluster
from runner.distributed.job_server import connect
from runner.runs import read_metrics
from runner.runs.remote.layout import copies
from runner.runs.remote.register import Register
from runner.runs.remote.store import Store
from typed import typed

pytestmark = pytest.mark.slow
STEPS = 40
CANARY = "canary-that-must-not-be-kept"
JOB = f"""\
name: tiny
data: {{id: builtin:questions, questions: 200, max_length: 256, validation_questions: 10}}
lora: {{rank: 4}}
train: {{tokens_per_step: 512, steps: {STEPS}, learning_rate: 1e-3}}
validation: {{every: {STEPS}}}
checkpoint: {{every: {STEPS}}}
evaluation: {{questions: 0}}
track: []
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder from which jobs are submitted."""
    for name, text in (("jobs/tiny.yaml", JOB), ("cluster/one.yaml", "cpus_per_worker: 1\n")):
        (tmp_path / "work" / name).parent.mkdir(parents=True)
        (tmp_path / "work" / name).write_text(text)
    (tmp_path / "work" / "cluster" / "env.yaml").write_text('env_vars: {RAY_JOB_STOP_WAIT_TIME_S: "60"}\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def used(head: Head, monkeypatch: pytest.MonkeyPatch) -> Head:
    """``head``, with the environment of who may use it; its address is no environment variable here."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", head.environment["RAY_AUTH_TOKEN_PATH"])
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.address)
    return head


@pytest.fixture
def head(work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    with ray_cluster(work.parent, HF_TOKEN=CANARY, WANDB_API_KEY=CANARY) as cluster:
        yield used(cluster, monkeypatch)


def losses(run: Path) -> dict[int, float]:
    records = [record for record in read_metrics(run / "metrics.jsonl") if record["kind"] == "train"]
    return {int(str(record["step"])): float(str(record["loss"])) for record in records}


def by_rays_own_command(head: Head, *words: str) -> None:
    """`ray job submit` as its own documentation has it."""
    command: list[str | Path] = [
        BIN / "ray",
        "job",
        "submit",
        "--no-wait",
        "--submission-id",
        "by-hand",
        "--working-dir",
        ".",
    ]
    subprocess.run([*command, *words], check=True, env={**head.environment, "RAY_API_SERVER_ADDRESS": head.address})


def await_(condition: Callable[[], bool], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_a_job_is_stopped_saves_is_submitted_again_and_ends_and_a_wrong_one_tells_its_code(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = typed(capsys, "submit", "jobs/tiny.yaml", "--resume", "must")
    assert code == 2
    assert "error: there is no run tiny to resume" in out

    by_rays_own_command(head, "--runtime-env", "cluster/env.yaml", "--", "runner", "train", "jobs/tiny.yaml")
    run = head.home / "runs" / "tiny"
    await_(lambda: len(losses(run)) >= 3)
    code, out, _ = typed(capsys, "stop", "by-hand")
    assert (code, "stopped: stopped after step" in out) == (0, True), out
    done = max(losses(run))
    assert 3 <= done < STEPS
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"step-{done:06}"]

    code, out, _ = typed(capsys, "submit", "jobs/tiny.yaml")
    assert code == 0, out
    assert f"finished at step {STEPS} of {STEPS}" in out
    assert list(losses(run)) == list(range(1, STEPS + 1))
    assert any(record.get("name") == "resumed" for record in read_metrics(run / "metrics.jsonl"))
    assert typed(capsys, "status", "tiny")[1].splitlines()[0].endswith("succeeded, exit code 0")

    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    told = repr(connect(None).submissions()) + "".join(typed(capsys, "logs", "by-hand", "--no-follow")[1:])
    kept = [path.read_bytes() for root in (run, head.sessions) for path in root.rglob("*") if path.is_file()]
    assert len(kept) > 50
    assert any(b"gcs_server" in content for content in kept)  # Ray's own logs are among them
    for secret in (token, CANARY):
        assert secret not in told + out
        assert not any(secret.encode() in content for content in kept)


@pytest.mark.long
def test_on_two_nodes_a_job_stopped_and_gone_on_with_equals_a_local_run_bit_for_bit(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = ("--storage", str(work.parent / "shared"))
    common = ("jobs/tiny.yaml", "--cluster", "cluster/one.yaml")
    end(start(work.parent, "train", *common, "--storage", str(work.parent / "alone")), 0)
    with ray_cluster(work.parent, nodes=2, cpus=1) as cluster:
        head = used(cluster, monkeypatch)
        run = work.parent / "shared" / "tiny"
        words = ("runner", "train", *common, *storage)
        by_rays_own_command(head, "--runtime-env", "cluster/env.yaml", "--", *words)
        await_(lambda: len(losses(run)) >= 3)
        assert typed(capsys, "stop", "by-hand")[0] == 0
        assert max(losses(run)) < STEPS
        assert "everything is saved" in typed(capsys, "logs", "by-hand", "--no-follow")[1]
        assert typed(capsys, "submit", *common, *storage)[0] == 0
    alone = work.parent / "alone" / "tiny"
    assert losses(run) == losses(alone)
    weights = Path("final", "adapter_model.safetensors")
    assert (run / weights).read_bytes() == (alone / weights).read_bytes()


@pytest.mark.long
@pytest.mark.usefixtures("s3_port")  # before ``head``, whose machines get the keys with their environment
def test_a_job_kept_in_a_bucket_is_stopped_and_goes_on_from_there_and_its_keys_stand_nowhere(
    work: Path, head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "s3://bucket/runs"
    words = ("submit", "jobs/tiny.yaml", "--storage", url)
    store = Store(f"{url}/tiny")
    told = typed(capsys, *words, "--no-wait")[1]
    there = copies(head.home / ".cache" / "runner", url)
    await_(lambda: len(losses(there / "tiny")) >= 3)
    code, out, _ = typed(capsys, "stop", "tiny")
    assert (code, f"everything is saved; {url}/tiny" in out) == (0, True), out
    done = max(losses(there / "tiny"))
    assert 3 <= done < STEPS
    stopped = Register(store).newest()
    assert (stopped.holder, f"checkpoints/step-{done:06}" in stopped.folders) == (None, True)

    shutil.rmtree(there)  # as on another machine
    code, again, _ = typed(capsys, *words)
    assert code == 0, again
    assert f"resumed after step {done}" in again
    assert f"finished at step {STEPS} of {STEPS}" in again
    jobs = connect(None)
    told += out + again + typed(capsys, "status", "tiny")[1] + repr(jobs._json("GET", "/api/jobs/"))
    assert "RAY_JOB_STOP_WAIT_TIME_S" in told, "the record has the job's environment"
    told += "".join(jobs.logs(job.id) for job in jobs.submissions())
    places = (work.parent, head.sessions)
    kept = [path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()]

    ended = Register(store).newest()
    assert ended.holder is None
    assert typed(capsys, "show", "tiny", "--storage", url)[1].startswith(f"tiny  finished at step {STEPS} of {STEPS}")
    assert list(losses(copies(work.parent / ".cache" / "runner", url) / "tiny")) == list(range(1, STEPS + 1))
    weights = Path("final", "adapter_model.safetensors")
    assert store.read(f"{ended.folders['final']}/{weights.name}") == (there / "tiny" / weights).read_bytes()
    kept += [store.read(key) for key in store.keys("")]
    assert len(kept) > 50
    for secret in (KEY, SECRET):
        assert secret not in told
        assert not any(secret.encode() in content for content in kept)

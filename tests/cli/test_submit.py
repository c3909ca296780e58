"""`runner submit` as it is typed, to a job server of this machine that runs nothing: what is sent, and how it ends."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_job_server import TOKEN, FakeCluster
from runner.config.ray_job import CLUSTER
from runner.distributed.job_server import SERVER
from runner.distributed.token import TOKEN_PATH
from typed import typed

CANARY = "canary-that-must-not-travel"
Submit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job, a search and a profile, in which commands are typed; the token is where Ray looks."""
    work, home = tmp_path / "work", tmp_path / "home"
    for name in ("jobs", "search", "cluster", "runs"):
        (work / name).mkdir(parents=True)
    (work / "jobs" / "mine.yaml").write_text("name: mine\ntrain: {steps: 200}\n")
    (work / "search" / "mine.yaml").write_text(
        "name: mine-too\njob: ../jobs/mine.yaml\nspace: {lora.rank: {choices: [4, 8]}}\nstop_steps: [100]\n"
    )
    (work / "cluster" / "two.yaml").write_text("workers: 2\n")
    (work / ".gitignore").write_text("/runs/\n*.bin\n")
    (work / "runs" / "large").write_bytes(b"0" * 5000)
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text(f"{TOKEN}\n")
    for name in (SERVER, CLUSTER, TOKEN_PATH, "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def cluster(folder: Path) -> Iterator[FakeCluster]:
    del folder
    with FakeCluster().serving() as fake:
        yield fake


@pytest.fixture
def submit(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> Submit:
    return lambda *words: typed(capsys, "submit", *words, "--address", cluster.address)


def test_what_is_sent_is_the_command_its_surroundings_and_the_folder(submit: Submit, cluster: FakeCluster) -> None:
    code, out, err = submit("jobs/mine.yaml", "-o", "lora.rank=8", "--cluster", "cluster/two.yaml", "--workers", "3")
    assert (code, err) == (0, "")
    (job,) = cluster.jobs
    assert job["entrypoint"] == ("runner train jobs/mine.yaml -o lora.rank=8 --cluster cluster/two.yaml --workers 3")
    (package,) = cluster.packages
    assert job["runtime_env"]["working_dir"] == f"gcs://{package}"
    assert job["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    assert job["metadata"] == {"job_name": "mine"}
    assert job["submission_id"].startswith("mine-2")
    assert "runs      runner train jobs/mine.yaml" in out
    assert "asks for  3 workers of 1 CPUs and 0 GPUs; the cluster has 1 node of 4 CPUs and 0 GPUs" in out
    assert out.endswith("working\ndone\n")
    files = {"jobs/mine.yaml", "search/mine.yaml", "cluster/two.yaml", ".gitignore"}
    assert set(zipfile.ZipFile(io.BytesIO(cluster.packages[package])).namelist()) == files


@pytest.mark.parametrize(("ended", "code"), [(0, 0), (2, 2), (3, 3), (4, 4), (5, 5), (75, 75), (130, 130), (-9, 137)])
def test_the_jobs_exit_code_comes_back(submit: Submit, cluster: FakeCluster, ended: int, code: int) -> None:
    cluster.status, cluster.exit_code = "FAILED" if ended else "SUCCEEDED", ended
    assert submit("jobs/mine.yaml")[0] == code


def test_a_stopped_job_a_missing_program_and_a_lost_driver_are_told(submit: Submit, cluster: FakeCluster) -> None:
    cluster.status, cluster.exit_code = "STOPPED", None
    code, _, err = submit("jobs/mine.yaml")
    assert (code, "submit it again to go on" in err) == (75, True)
    cluster.status, cluster.exit_code = "FAILED", 127
    code, _, err = submit("jobs/mine.yaml")
    assert (code, "have no program `runner`" in err) == (2, True)
    cluster.exit_code = None
    assert submit("jobs/mine.yaml")[0] == 4


def test_submitted_again_it_has_a_new_id_and_the_same_command_and_files_travel_once(
    submit: Submit, cluster: FakeCluster
) -> None:
    cluster.status = "FAILED"
    submit("jobs/mine.yaml", "--name", "third")
    submit("jobs/mine.yaml", "--name", "third")
    first, second = cluster.jobs
    assert first["submission_id"] != second["submission_id"]
    assert first["entrypoint"] == second["entrypoint"] == "runner train jobs/mine.yaml --name third"
    assert [method for method, path, _ in cluster.asked if "/packages/" in path] == ["GET", "PUT", "GET"]


@pytest.mark.parametrize(("resume", "words"), [("auto", " --retry"), ("never", ""), ("must", " --resume")])
def test_a_search_is_known_by_what_it_holds_and_goes_on_when_submitted_again(
    submit: Submit, cluster: FakeCluster, resume: str, words: str
) -> None:
    code, out, _ = submit("search/mine.yaml", "--resume", resume)
    assert code == 0
    assert cluster.jobs[0]["entrypoint"] == f"runner search search/mine.yaml{words}"
    assert cluster.jobs[0]["metadata"] == {"job_name": "mine-too"}
    assert "1 trials at once of 1 worker of 4 CPUs and 0 GPUs" in out


def test_a_dry_run_checks_all_and_sends_nothing(submit: Submit, cluster: FakeCluster, folder: Path) -> None:
    for size in range(12):
        (folder / f"part-{size:02}").write_bytes(b"0" * (1024 * (size + 1)))
    code, out, _ = submit("--dry-run")
    assert code == 0
    assert "runs      runner train\n" in out
    assert "uploads   16 files, 79." in out
    listed = [line.split()[-1] for line in out.splitlines() if line.startswith("   ")]
    assert listed == [f"part-{size:02}" for size in range(11, 1, -1)]
    assert not cluster.jobs
    assert not cluster.packages
    assert submit("--dry-run", "--workers", "5")[0] == 3


def test_more_than_the_cluster_has_is_refused_and_dead_nodes_do_not_count(submit: Submit, cluster: FakeCluster) -> None:
    cluster.nodes = [{"CPU": 8.0, "GPU": 1.0}] * 2
    code, _, err = submit("jobs/mine.yaml", "--workers", "3")
    assert code == 3
    assert "3 workers of 1 CPUs and 1 GPUs are asked, Ray has 2 nodes of 8 CPUs and 1 GPUs" in err
    assert not cluster.jobs


def test_a_run_that_is_being_run_is_not_started_a_second_time(submit: Submit, cluster: FakeCluster) -> None:
    cluster.add("mine-1", "RUNNING", "mine")
    code, _, err = submit("jobs/mine.yaml")
    assert (code, "mine is being run already; submission mine-1" in err) == (2, True)
    assert submit("jobs/mine.yaml", "--name", "other")[0] == 0


def test_files_that_would_not_travel_are_told_before_anything_is_sent(
    submit: Submit, cluster: FakeCluster, folder: Path
) -> None:
    (folder / "rows.bin").write_text("{}")
    code, _, err = submit("jobs/mine.yaml", "-o", "data.id=rows.bin")
    assert (code, "rows.bin is not among the files that are uploaded" in err) == (2, True)
    outside = folder.parent / "other.yaml"
    outside.write_text("name: other\n")
    code, _, err = submit("../other.yaml")
    assert (code, "other.yaml is not among the files" in err) == (2, True)
    code, _, err = submit("jobs/mine.yaml", "-o", f"model.id={folder}")
    assert (code, "every node must see it under this path" in err) == (0, True)
    assert len(cluster.jobs) == 1


def test_an_upload_that_the_server_would_refuse_names_what_is_large(
    submit: Submit, cluster: FakeCluster, folder: Path
) -> None:
    with (folder / "model.weights").open("wb") as file:
        file.truncate(101 * 2**20)
    code, out, err = submit("jobs/mine.yaml")
    assert code == 2
    assert "101 MiB are to be uploaded, 100 at most; the largest is model.weights with 101.0 MiB" in err
    assert "101.0 MiB  model.weights" in out
    (folder / "env.yaml").write_text("excludes: ['*.weights']\n")
    assert submit("jobs/mine.yaml", "--runtime-env", "env.yaml")[0] == 0
    assert len(cluster.jobs) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("working_dir: .\n", "working_dir is set"),
        ("env_vars: {A: 60}\n", 'env_vars.A is 60, not text; env.yaml; write it in quotes: "60"'),
        ("env_vars: [A]\n", "env_vars is no mapping"),
        ("excludes: runs\n", "excludes is no list"),
        ('env_vars: {RAY_JOB_STOP_WAIT_TIME_S: "soon"}\n', "RAY_JOB_STOP_WAIT_TIME_S is 'soon'"),
        ("no_such_field: 1\nconda: 5\n", "Ray does not take it"),
    ],
)
def test_a_wrong_runtime_environment_is_told(
    submit: Submit, cluster: FakeCluster, folder: Path, text: str, told: str
) -> None:
    (folder / "env.yaml").write_text(text)
    code, _, err = submit("jobs/mine.yaml", "--runtime-env", "env.yaml")
    assert (code, told in err) == (2, True), err
    assert not cluster.jobs


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "hf_token", "HF_TOKEN_PATH", "AUTHTOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY"),
        *("DB_PASSWORD", "PGPASSWORD", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_a_variable_that_is_named_as_secrets_are_is_refused(
    submit: Submit, cluster: FakeCluster, folder: Path, name: str
) -> None:
    (folder / "env.yaml").write_text(f"env_vars: {{{name}: abc}}\n")
    code, _, err = submit("jobs/mine.yaml", "--runtime-env", "env.yaml")
    assert (code, f"env_vars.{name} looks like a secret" in err) == (2, True), err
    assert not cluster.jobs


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "TOKENIZER_CACHE", "KEYBOARD", "MONKEY"])
def test_a_variable_of_tokens_or_of_a_tokenizer_is_no_secret(
    submit: Submit, cluster: FakeCluster, folder: Path, name: str
) -> None:
    (folder / "env.yaml").write_text(f'env_vars: {{{name}: "1"}}\n')
    code, _, err = submit("jobs/mine.yaml", "--runtime-env", "env.yaml")
    assert (code, err) == (0, "")
    assert cluster.jobs[0]["runtime_env"]["env_vars"][name] == "1"


def test_no_secret_of_this_machine_travels(
    submit: Submit, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, CANARY)
    _, out, err = submit("jobs/mine.yaml")
    assert CANARY not in json.dumps(cluster.jobs) + out + err + str(list(cluster.packages.values()))
    assert TOKEN not in json.dumps(cluster.jobs) + out + err


def test_without_waiting_the_next_commands_are_named(submit: Submit, cluster: FakeCluster) -> None:
    code, out, _ = submit("jobs/mine.yaml", "--no-wait")
    name = cluster.jobs[0]["submission_id"]
    assert code == 0
    assert f"runner logs {name}" in out
    assert "done" not in out

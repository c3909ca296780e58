"""Where a command keeps things, and which cluster it joins, as the entry point of a Ray job and elsewhere."""

from pathlib import Path

import pytest

from runner.cli.options import kept_in, named_cluster
from runner.config.ray_job import CLUSTER, JOB_CONFIG


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home folder of a process that a job server started."""
    monkeypatch.setenv(JOB_CONFIG, "{}")
    monkeypatch.setenv(CLUSTER, "10.0.0.1:6379")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_ray_job_joins_its_cluster_and_keeps_runs_where_they_last(job: Path) -> None:
    profile = named_cluster(None, None, None)
    assert profile.address == "10.0.0.1:6379"
    assert profile.storage == str(job / "runs")
    assert named_cluster(None, None, "here/runs").storage == str(job / "here" / "runs")
    assert named_cluster(None, None, "/shared/runs").storage == "/shared/runs"


def test_commands_of_a_ray_job_look_for_runs_where_it_keeps_them(job: Path) -> None:
    for storage in (None, "here/runs", "/shared/runs"):
        assert str(kept_in(storage)) == named_cluster(None, None, storage).storage
    assert kept_in(None, "searches") == job / "searches"


def test_a_profile_made_to_join_from_elsewhere_serves_a_job_too(job: Path) -> None:
    file = job / "profile.yaml"
    file.write_text("address: 10.0.0.3:6379\nstorage: /mnt/runs\n")
    profile = named_cluster(file, None, None, kept="searches")
    assert (profile.address, profile.storage) == ("10.0.0.1:6379", "/mnt/runs")
    assert named_cluster(file, None, None, address="10.0.0.2:6379").address == "10.0.0.2:6379"


def test_elsewhere_nothing_is_joined_and_runs_lie_in_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_CONFIG, raising=False)
    monkeypatch.setenv(CLUSTER, "10.0.0.1:6379")  # a cluster left over is not joined
    profile = named_cluster(None, None, None, kept="searches")
    assert (profile.address, profile.storage) == (None, "searches")
    assert kept_in(None) == Path("runs")
    assert kept_in("~/runs") == Path.home() / "runs"

"""What the driver of a run brings before Ray is started, and how machines are shared out."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from runner.config.cluster import Cluster
from runner.distributed.ray_session import Resources, check_local_size, ray_session, share_out
from runner.distributed.token import TOKEN_PATH
from runner.errors import DoesNotFit, TrainingFailed


def test_the_driver_imports_neither_torch_nor_ray_before_it_needs_them() -> None:
    """A worker imports them anyway; one after the other they would take twice the time."""
    code = "import sys, runner.distributed; print(sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_a_worker_gets_the_most_cores_with_which_all_find_room() -> None:
    two = [{"CPU": 8.0}, {"CPU": 8.0}]
    assert share_out(Cluster(), two) == Resources(1, 8, 0.0)
    assert share_out(Cluster(workers=3), two) == Resources(3, 4, 0.0)
    assert share_out(Cluster(workers=2), [{"CPU": 2.0}]) == Resources(2, 1, 0.0)


def test_a_gpu_each_where_there_are_gpus_and_a_head_without_cores_gets_no_worker() -> None:
    nodes = [{"memory": 1e9}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 2.0}]
    assert share_out(Cluster(workers=4), nodes) == Resources(4, 8, 1.0)
    assert share_out(Cluster(gpus_per_worker=0), nodes) == Resources(1, 16, 0.0)


def test_as_many_workers_as_find_room_are_enough_where_the_fewest_are_given() -> None:
    nodes = [{"CPU": 8.0}, {"CPU": 8.0}]
    assert share_out(Cluster(workers=4, min_workers=1), nodes) == Resources(4, 4, 0.0, 1)
    assert share_out(Cluster(workers=4, min_workers=2, cpus_per_worker=8), nodes) == Resources(4, 8, 0.0, 2)
    with pytest.raises(DoesNotFit, match="3 workers of 8 CPUs and 0 GPUs are asked"):
        share_out(Cluster(workers=4, min_workers=3, cpus_per_worker=8), nodes)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"workers": 5}, "5 workers of 1 CPUs and 1 GPUs are asked, Ray has 2 nodes of 8 CPUs and 2 GPUs"),
        ({"workers": 2, "cpus_per_worker": 9}, "2 workers of 9 CPUs and 1 GPUs are asked"),  # in no single node
    ],
)
def test_what_finds_no_room_is_refused_with_what_is_there_by_node(asked: dict[str, int], told: str) -> None:
    with pytest.raises(DoesNotFit, match=told) as refusal:
        share_out(Cluster.model_validate(asked), [{"CPU": 8.0, "GPU": 2.0}] * 2)
    assert refusal.value.exit_code == 3


def test_a_ray_that_is_late_on_a_busy_machine_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    def init(error: Exception) -> None:
        def fails(**_: object) -> None:
            raise error

        monkeypatch.setattr(ray, "init", fails)

    init(Exception("The current node timed out during startup."))
    with pytest.raises(TrainingFailed, match=r"did not start in time .The current node timed out.*same command again"):
        ray_session(Cluster()).__enter__()
    init(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        ray_session(Cluster()).__enter__()


@pytest.fixture
def told_to_ray(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What a Ray that is no Ray is started with; this machine has two cores and no GPU."""
    import ray

    told: dict[str, object] = {}
    monkeypatch.setattr(ray, "init", lambda **words: told.update(words))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr("runner.distributed.ray_session.nodes_here", lambda: [{"CPU": told["num_cpus"] or 2.0}])
    monkeypatch.setattr("runner.distributed.ray_session.usable_cores", lambda: 2)
    monkeypatch.setattr("runner.distributed.ray_session.visible_gpus", lambda: 0)
    return told


def test_of_more_workers_than_cores_as_many_find_room_as_there_are_cores(told_to_ray: dict[str, object]) -> None:
    with ray_session(Cluster(workers=8, min_workers=2)) as resources:
        assert told_to_ray["num_cpus"] == 2
        assert resources == Resources(8, 1, 0.0, 2)


@pytest.mark.usefixtures("told_to_ray")
def test_a_token_that_others_can_read_is_narrowed_where_ray_is_started_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_PATH, str(tmp_path / "token"))
    (tmp_path / "token").touch(mode=0o640)
    with ray_session(Cluster(address="auto")):
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o640, "a group may share a cluster and its token"
    with ray_session(Cluster()):
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("told_to_ray")
def test_a_token_on_a_read_only_disk_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path, mode: int) -> None:
        raise OSError(errno.EROFS, f"Read-only file system ({mode:o})", str(path))

    monkeypatch.setenv(TOKEN_PATH, str(tmp_path / "token"))
    (tmp_path / "token").touch(mode=0o644)
    monkeypatch.setattr(Path, "chmod", refuses)
    with ray_session(Cluster()) as resources:
        assert resources.workers == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"workers": 5}, "5 workers x 1 CPUs = 5 are asked, 4 are here"),
        ({"workers": 2, "cpus_per_worker": 3}, "2 workers x 3 CPUs = 6 are asked, 4 are here"),
        ({"workers": 2, "gpus_per_worker": 1}, "2 workers x 1 GPUs = 2 are asked, 1 are here"),
        ({"workers": 9, "min_workers": 5}, "5 workers x 1 CPUs"),
    ],
)
def test_more_than_this_machine_has_is_refused(
    asked: dict[str, int], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.distributed.ray_session.usable_cores", lambda: 4)
    monkeypatch.setattr("runner.distributed.ray_session.visible_gpus", lambda: 1)
    with pytest.raises(DoesNotFit, match=told):
        check_local_size(Cluster.model_validate(asked))
    check_local_size(Cluster.model_validate({**asked, "address": "head:6379"}))
    check_local_size(Cluster(workers=4, gpus_per_worker=0))
    monkeypatch.setattr("runner.distributed.ray_session.visible_gpus", lambda: None)
    check_local_size(Cluster(workers=2, gpus_per_worker=1))

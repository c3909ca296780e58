"""`runner train` as a user types it, through Ray Train: started, stopped, killed, gone on with, on two workers."""

import os
import random
import signal
import stat
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from processes import ORPHAN_S, end, kill_driver, wait_for, workers_of
from runner.runs import read_metrics
from typed_runs import STEPS, losses, train, weights
from went_on import kept_step, went_on_from

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A link to what Ray kept of the ``whole`` run."""
    return tmp_path_factory.mktemp("session") / "of-ray"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, home: Path, session: Path) -> Path:
    """An uninterrupted run on one worker, of a user whose token anyone could read and who wants none."""
    storage = tmp_path_factory.mktemp("whole")
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o644)
    process = train(storage, home, **{"RAY_AUTH_MODE": "disabled", **CANARIES})  # type: ignore[arg-type]  # all are text
    seen = access_of_ray(process)
    output = end(process, 0)
    ((mode, folder),) = seen
    assert mode == "token"
    session.symlink_to(folder)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert "finished at step 30 of 30" in output
    assert len(losses(storage / "demo")) == STEPS
    return storage / "demo"


CANARIES = {
    name: f"canary-{number}-that-must-not-be-kept"
    for number, name in enumerate(("HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"))
}


def access_of_ray(process: "subprocess.Popen[str]") -> set[tuple[str | None, Path]]:
    """How the Ray under ``process`` lets anyone in, and its session's folder; no command line tells a secret."""
    found: set[tuple[str | None, Path]] = set()

    def looked() -> bool:
        with suppress(psutil.NoSuchProcess):
            for member in psutil.Process(process.pid).children(recursive=True):
                words = member.cmdline()
                assert "canary-" not in " ".join(words)
                if "gcs_server" in member.name() and len(words) > 1:  # a new process has no words for a moment
                    (logs,) = [word.removeprefix("--log_dir=") for word in words if word.startswith("--log_dir=")]
                    found.add((member.environ().get("RAY_AUTH_MODE"), Path(logs).parent))
        return bool(found)

    wait_for(looked, process)
    return found


def test_no_secret_of_the_environment_is_kept(whole: Path, home: Path, session: Path) -> None:
    """Neither in the run nor in the home folder, nor in what Ray keeps: logs, and files of jobs and environments."""
    kept = [path for root in (whole.parent, home, session.resolve()) for path in root.rglob("*") if path.is_file()]
    assert {"metrics.jsonl", "gcs_server.out", "raylet.out"} <= {path.name for path in kept}
    assert [path for path in kept if path.name.startswith("worker-")]
    assert len(kept) > 40
    assert not [path for path in kept if b"canary-" in path.read_bytes()]


def test_ctrl_c_saves_and_twice_ends_at_once_and_nothing_is_lost(whole: Path, home: Path, tmp_path: Path) -> None:
    run = tmp_path / "demo"
    process = train(tmp_path, home, own_group=True)
    wait_for(lambda: len(losses(run)) >= 7, process)
    os.killpg(process.pid, signal.SIGINT)
    assert "everything is saved" in end(process, 130)
    done = max(losses(run))
    assert done < STEPS - 5
    process = train(tmp_path, home, own_group=True)
    wait_for(lambda: len(losses(run)) > done + 2, process)
    (worker,) = workers_of(process, "TrainWorker")
    worker.suspend()  # it cannot save, so that the first is waited for
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert "ended at once" in end(process, 130)
    assert time.monotonic() - asked < 15
    worker.resume()
    _, alive = psutil.wait_procs([worker], timeout=ORPHAN_S)
    assert not alive, "the worker outlived the command"
    end(train(tmp_path, home), 0)
    assert losses(run) == losses(whole)
    assert weights(run) == weights(whole)


def test_a_finished_run_typed_again_trains_nothing(whole: Path, home: Path) -> None:
    before = weights(whole)
    output = end(train(whole.parent, home), 0)
    assert "finished" in output
    assert weights(whole) == before


@pytest.mark.long
def test_two_workers_give_the_losses_of_one(whole: Path, home: Path, tmp_path: Path) -> None:
    end(train(tmp_path, home, "--workers", "2"), 0)
    together, alone = losses(tmp_path / "demo"), losses(whole)
    assert together.keys() == alone.keys()
    assert max(abs(together[step] - alone[step]) for step in alone) < 1e-5


def test_sigterm_saves_the_same_command_goes_on_and_a_killed_worker_loses_nothing(
    whole: Path, home: Path, tmp_path: Path
) -> None:
    """SIGTERM to all of its processes, as ``timeout`` sends it, Ray's servers among them."""
    process = train(tmp_path, home, own_group=True)
    wait_for(lambda: len(losses(tmp_path / "demo")) >= 7, process)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    assert "everything is saved" in end(process, 75)
    assert time.monotonic() - asked < 30
    _, alive = psutil.wait_procs(members_of(process.pid), timeout=ORPHAN_S)
    assert not alive
    done = max(losses(tmp_path / "demo"))
    assert done < STEPS // 2
    process = train(tmp_path, home, "--resume", "must")
    wait_for(lambda: len(losses(tmp_path / "demo")) >= done + 7, process)
    (worker,) = workers_of(process, "TrainWorker")
    worker.kill()
    end(process, 0)
    assert losses(tmp_path / "demo") == losses(whole)
    assert weights(tmp_path / "demo") == weights(whole)
    records = read_metrics(tmp_path / "demo" / "metrics.jsonl")
    assert [r.get("name") for r in records].count("resumed") == 2
    *typed, again = [r for r in records if r["kind"] == "startup"]
    assert [{"ray_s", "workers_s"} & set(r) for r in typed] == [{"ray_s", "workers_s"}] * 2
    assert "ray_s" not in again, "for what Ray starts again nobody types a command"
    assert 0.0 < again["workers_s"] < typed[1]["ray_s"] + typed[1]["workers_s"]  # type: ignore[operator]


def members_of(group: int) -> list[psutil.Process]:
    """The living processes of a process group."""
    found = []
    for member in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(member.pid) == group:
                found.append(member)
    return found


@pytest.mark.long
@pytest.mark.parametrize("kills", [2, 5])
def test_a_run_killed_at_random_points_goes_on_bit_for_bit(kills: int, whole: Path, home: Path, tmp_path: Path) -> None:
    chooser = random.Random(11)
    apart = (STEPS - 5) // kills
    for kill in range(kills):
        process = train(tmp_path, home)
        wanted = apart * kill + chooser.randint(1, apart)
        wait_for(lambda wanted=wanted: max(losses(tmp_path / "demo"), default=0) >= wanted, process)  # type: ignore[misc]
        kill_driver(process, "TrainWorker")
    kept = kept_step(tmp_path / "demo")
    end(train(tmp_path, home), 0)
    assert went_on_from(tmp_path / "demo")[-1] == kept > 0
    assert losses(tmp_path / "demo") == losses(whole)
    assert weights(tmp_path / "demo") == weights(whole)


def test_more_workers_than_cores_are_refused_before_ray_starts(home: Path, tmp_path: Path) -> None:
    profile = tmp_path / "large.yaml"
    profile.write_text("workers: 3\ncpus_per_worker: 500\n")
    began = time.monotonic()
    output = end(train(tmp_path / "runs", home, "--cluster", str(profile)), 3)
    assert "3 workers x 500 CPUs = 1500 are asked" in output
    assert time.monotonic() - began < 60

"""`cluster/slurm.sh` as Slurm runs it, with commands in place of Slurm's and Ray's that do what those do to it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.distributed.upload import list_upload

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"
COMMANDS = {
    # the step on all nodes, and the one that is put beside it on the head
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"',
    "scontrol": 'if [ "$1" = show ]; then printf "node1\\nnode2\\n"; else echo "$@" >> scontrol.txt; fi',
    "ray": """echo "$@" > ray.txt
stat -c %a "$RAY_AUTH_TOKEN_PATH" >> ray.txt
echo "$RAY_AUTH_MODE $(wc -c < "$RAY_AUTH_TOKEN_PATH")" >> ray.txt
while [ "$1" != -- ]; do shift; done
shift
if [ -e start-fails ]; then exit 0; fi # as the real one, which tells of it only in words
"$@" || exit $?""",
    # saves on SIGTERM, as the real one does
    "runner": f"""exec {sys.executable} -c '
import pathlib, signal, sys, time
pathlib.Path("runner.txt").write_text(" ".join(sys.argv[1:]))
def save(*_):
    time.sleep(0.3)
    pathlib.Path("saved.txt").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready.txt").touch()
if "wait" in sys.argv: time.sleep(60)
sys.exit(int(sys.argv[-3]))
' "$@" """,
}


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the script with words, in a folder where its commands leave what they were told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "40123", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    slurm |= {"SLURM_CPUS_PER_TASK": "16", "SLURM_GPUS_ON_NODE": "4", "PATH": f"{folder}:{os.environ['PATH']}"}

    def started(*words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", SCRIPT, *words], cwd=tmp_path, env={**os.environ, **slurm}, text=True, stderr=subprocess.PIPE
        )

    return started


def await_file(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_command_gets_its_words_and_the_cluster_a_token_of_its_own(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    assert start("train", "a job.yaml", "0").wait(60) == 0
    assert (tmp_path / "runner.txt").read_text() == "train a job.yaml 0 --address node1:20123"
    told, mode, token = (tmp_path / "ray.txt").read_text().splitlines()
    assert told.startswith("symmetric-run --address node1:20123 --min-nodes 2 --num-cpus=16 --num-gpus=4 -- bash")
    assert (mode, token) == ("600", "token 65")
    assert not (tmp_path / ".slurm-40123").exists()
    assert not (tmp_path / "scontrol.txt").exists()


@pytest.mark.parametrize("code", [2, 4, 75])
def test_the_commands_exit_code_is_the_jobs_and_nothing_is_queued_again(
    code: int, start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    assert start("train", str(code)).wait(60) == code
    assert not (tmp_path / "scontrol.txt").exists()


def test_before_the_time_limit_it_saves_and_is_queued_again(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    (tmp_path / ".slurm-40123").mkdir()  # left by a start that was killed
    process = start("train", "wait")
    await_file(tmp_path / "ready.txt")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 75
    assert (tmp_path / "saved.txt").exists()
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 40123\n"
    assert not (tmp_path / ".slurm-40123").exists()


def test_a_ray_that_did_not_start_is_a_failure(start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    (tmp_path / "start-fails").touch()
    process = start("train", "0")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert err == "error: Ray did not start; node1:20123; see above, then submit it again, which takes another port\n"
    assert not (tmp_path / "runner.txt").exists()


def test_the_token_is_neither_uploaded_nor_taken_by_git(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    process = start("train", "wait")
    await_file(tmp_path / "ready.txt")
    token = tmp_path / ".slurm-40123" / "token"
    assert token.exists()
    assert not list_upload(tmp_path, ()).holds(token.parent)
    listing = ["git", "ls-files", "--others", "--exclude-standard"]
    others = subprocess.run(listing, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "ready.txt" in others
    assert not [name for name in others if name.startswith(".slurm")]
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 75


def test_slurm_is_asked_to_signal_in_time_and_to_allow_another_start() -> None:
    asked = [line.split(maxsplit=1)[1].split("=") for line in SCRIPT.read_text().splitlines() if "#SBATCH" in line]
    options = {words[0]: words[1] if len(words) > 1 else "" for words in asked}
    assert options["--signal"] == "B:USR1@180"
    assert {"--requeue", "--exclusive"} <= set(options)
    assert (options["--ntasks-per-node"], options["--open-mode"]) == ("1", "append")


def test_the_script_is_sound() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck"):
        ended = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
        assert ended.stdout == ""

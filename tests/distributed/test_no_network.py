"""`runner train` of the embedded base where there is no network: no name is looked up and nothing is fetched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from typed_runs import SMALL, STEPS, losses

pytestmark = pytest.mark.slow
ALONE = 'ip link set lo up && exec "$@"'  # Ray's own processes speak through it


def namespace() -> list[str]:
    """A command's prefix by which it runs without any network but its own; skips the test where that is forbidden."""
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    prefix = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    tried = subprocess.run([*prefix, "sh", "-c", ALONE, "sh", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"a network of its own is not allowed to a process here: {tried.stderr.strip()}")
    return [*prefix, "sh", "-c", ALONE, "sh"]


REACHED = """
import socket
try:
    socket.create_connection(("1.1.1.1", 53), timeout=2.0)
except OSError as error:
    print("nothing is reached:", error)
"""


def test_the_embedded_base_is_trained_without_a_network(home: Path, tmp_path: Path) -> None:
    prefix = namespace()
    tried = subprocess.run([*prefix, sys.executable, "-c", REACHED], capture_output=True, text=True, check=True)
    assert "nothing is reached: [Errno 101]" in tried.stdout
    values = {**SMALL, "evaluation.questions": 4, "evaluation.max_new_tokens": 32, "model.weights": "pretrained"}
    overrides = [word for key, value in values.items() for word in ("-o", f"{key}={value}")]
    command = [sys.executable, "-m", "runner", "train", *overrides, "--storage", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "http", "HTTP"))}
    environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*prefix, *command], env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"finished at step {STEPS} of {STEPS}" in done.stdout
    assert list(losses(tmp_path / "demo")) == list(range(1, STEPS + 1))
    assert (tmp_path / "demo" / "final" / "adapter_model.safetensors").is_file()

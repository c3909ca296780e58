"""What Ray is started with, as far as it can be told without starting it."""

import subprocess
import sys
from pathlib import Path

from runner.distributed.ray_session import MOST_PRELOADED, PRELOADED, preload_pays


def test_waiting_processes_import_for_a_worker_on_small_machines_without_a_gpu_only(tmp_path: Path) -> None:
    driver = tmp_path / "driver"
    assert preload_pays(2, [driver])
    assert not preload_pays(MOST_PRELOADED + 1, [driver])
    driver.touch()
    assert not preload_pays(2, [driver])


def test_what_is_preloaded_is_what_a_worker_imports() -> None:
    """After it, the imports of a worker bring no further large package."""
    code = (
        f"import sys, {PRELOADED}; before = set(sys.modules); "
        "import runner.distributed.worker, runner.train.loop, runner.model.adapter, runner.model.nf4; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - {'runner'}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip().splitlines()[-1] == "[]"

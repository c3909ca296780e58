"""What the driver of a run brings before Ray is started."""

import subprocess
import sys


def test_the_driver_imports_neither_torch_nor_ray_before_it_needs_them() -> None:
    """A worker imports them anyway; one after the other they would take twice the time."""
    code = "import sys, runner.distributed; print(sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"

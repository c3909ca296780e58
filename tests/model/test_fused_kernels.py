"""The Triton kernels without a GPU: the tests of what they compute, once more, in Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# the rest has every kernel, in every kind of layer: a window is no kernel's, and one unpacks four bits for all models
CHOSEN = "not input and not mistral and not qwen2 and not window and not (four_bits and (llama or qwen3))"
FILES = ("test_fused_elementwise.py", "test_fused_layer.py", "test_nf4.py")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled here, and tested by the GPU tests")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernels_pass_the_tests_of_what_they_compute() -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(str(here / name) for name in FILES)]
    # the interpreter is chosen when Triton is imported, which this process may have done
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([*command, "-k", CHOSEN], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

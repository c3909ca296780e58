"""Where the Triton kernels run: on CUDA, or anywhere in Triton's interpreter, which the tests use."""

import os

from torch import Tensor


def kernels_run_on(tensor: Tensor) -> bool:
    """Whether ``tensor`` is worked on by a kernel and not by plain PyTorch."""
    return tensor.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"

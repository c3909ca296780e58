"""Small tensors brought from the device without making it wait.

A plain ``tolist`` queues its copy behind everything the device has been given since; this one is queued at once.
"""

import torch
from torch import Tensor


class Readback:
    """The values of ``tensor`` as they are at this point of the device's queue."""

    def __init__(self, tensor: Tensor) -> None:
        self._done: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._host = tensor
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._done.record()

    def values(self) -> list[float]:
        """The numbers; waits until the device has come so far, and no further."""
        if self._done is not None:
            self._done.synchronize()
        numbers: list[float] = self._host.tolist()
        return numbers

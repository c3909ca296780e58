"""Where the time of a run goes, and how much memory it took at most.

Only measures; what is measured is shown by ``runner.report``.
"""

import resource
import time

import torch

COUNTS_S, VALIDATION_S = "counts_s", "validation_s"  # laps of measurements: of solved questions, of held-out loss


class Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> float:
        """Seconds since the last lap, kept under ``name``."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
        return self.laps[name]

    def seconds(self) -> float:
        """Seconds since the last lap, which stays where it is."""
        return time.perf_counter() - self._last


def peak_gib(device: torch.device) -> float:
    """The most memory so far, GiB: allocated on the CUDA device, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

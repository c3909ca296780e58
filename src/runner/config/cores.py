"""The CPU cores and GPUs that this process may use, which in a container are fewer than the machine has.

What they are used for is decided by those who ask.
"""

import os
from pathlib import Path

DEVICES = Path("/dev")
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of the container's own group, in control groups' second version


def usable_cores() -> int:
    """At least 1: what the scheduler may place this process on, and no more than its control group's share of time."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0))
    share = _group_share(CGROUP_LIMIT)
    return allowed if share is None else max(1, min(allowed, round(share)))


def visible_gpus() -> int | None:
    """NVIDIA's GPUs that this process may use, by their device files; None where those do not tell (WSL).

    Loads no driver, so it takes no time; what Ray or torch find may be fewer.
    """
    if (DEVICES / "dxg").exists():
        return None
    present = len([path for path in DEVICES.glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal()])
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if allowed is None else min(present, len([each for each in allowed.split(",") if each.strip()]))


def _group_share(file: Path) -> float | None:
    """Cores' worth of time a period, from ``QUOTA PERIOD`` in microseconds; None where nothing limits it."""
    try:
        quota, period = file.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or ``max``
        return None

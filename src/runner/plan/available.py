"""The main memory that this process may still take, which in a container is less than what the machine has.

What it is used for is decided by those who ask.
"""

import os
from dataclasses import dataclass
from pathlib import Path

MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class Group:
    """Where the limit and the use of the container's own control group stand, in bytes."""

    folder: Path
    limit: str
    used: str
    cached: str  # of ``memory.stat``: what is given back when memory is asked for


GROUPS = (  # of the second version and of the first
    Group(Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    Group(Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_bytes() -> int:
    """What the machine has available, cached files counted in, and no more than the control group is allowed."""
    machine = _numbers(MEMORY).get("MemAvailable:")
    if machine is None:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    left = [_left_in(group) for group in GROUPS]
    return min([machine * 1024, *(each for each in left if each is not None)])


def _left_in(group: Group) -> int | None:
    """None where nothing is limited."""
    try:
        limit, used = (int((group.folder / name).read_text()) for name in (group.limit, group.used))
    except (OSError, ValueError):  # no such file, or ``max``
        return None
    return max(0, limit - used + _numbers(group.folder / "memory.stat").get(group.cached, 0))


def _numbers(file: Path) -> dict[str, int]:
    """Lines of a name and a number, some with a unit; none where there is no such file."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}

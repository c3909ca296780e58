"""A disk that fills, told with what is needed and what there is.

That a save which finds no room leaves nothing behind is ``checkpoint``'s.
"""

import errno
import shutil
from pathlib import Path

from runner.errors import DoesNotFit

RESERVE_BYTES = 256 << 20
_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full_disk(error: BaseException) -> bool:
    """Whether ``error`` says that a disk, a quota or the largest size of a file is used up."""
    return isinstance(error, OSError) and error.errno in _CODES


def full_disk(error: OSError, root: Path) -> DoesNotFit:
    """What to tell of ``error``, by which a write of the run in ``root`` failed."""
    saved = [size(path) for path in (root / "checkpoints").glob("step-*")]
    need, name = 2 * max(saved, default=0) + RESERVE_BYTES, f": {error.filename}" if error.filename else ""
    return DoesNotFit(
        f"the disk is full ({error.strerror}{name}): need {mib(need)} to go on (2 checkpoints and a reserve), "
        f"have {mib(shutil.disk_usage(root).free)}",
        str(root),
        "free space and run the same command to go on from the last checkpoint",
    )


def size(folder: Path) -> int:
    """Bytes of all files under ``folder``; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def mib(count: int) -> str:
    """``count`` bytes in words."""
    return f"{count / (1 << 20):,.1f} MiB"

"""A disk that is full or takes nothing, told with what is needed and what there is.

That a save which finds no room leaves nothing behind is ``checkpoint``'s.
"""

import shutil
from pathlib import Path

from runner.config.disk import NO_SPACE, code_says_so, is_full_disk, mib
from runner.errors import DoesNotFit, RunnerError, UserError

RESERVE_BYTES = 256 << 20


def full_disk(error: BaseException, root: Path) -> DoesNotFit:
    """What to tell of ``error``, by which a write into ``root``, of a run or a search, failed."""
    saved = [size(path) for path in (root / "checkpoints").glob("step-*")]
    need = 2 * max(saved, default=0) + RESERVE_BYTES
    told = (error.strerror, error.filename) if code_says_so(error) else (NO_SPACE,)
    why = ": ".join(str(part) for part in told if part)
    parts = "2 checkpoints and a reserve" if saved else "a reserve"
    there = next(place for place in (root, *root.parents) if place.exists())
    return DoesNotFit(
        f"the disk is full ({why}): need {mib(need)} to go on ({parts}), have {mib(shutil.disk_usage(there).free)}",
        str(root),
        "free space and run the same command to go on",
    )


def no_place(root: Path, error: OSError, *, kind: str = "run") -> RunnerError:
    """What to tell where the folder of a run or a search cannot be begun or gone on with."""
    if is_full_disk(error):
        return full_disk(error, root)
    return UserError(
        f"the {kind}'s folder cannot be made or written to ({error.strerror or error})",
        str(root),
        "give a writable folder with --storage",
    )


def size(folder: Path) -> int:
    """Bytes of all files under ``folder``; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0

"""A disk that is full: how an error says so, and what is told where a cache of what is downloaded finds no room.

What is told of a run's own folder is ``runner.runs``'.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from runner.errors import DoesNotFit

NO_SPACE = os.strerror(errno.ENOSPC)
_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full_disk(error: BaseException) -> bool:
    """Whether ``error`` says that a disk, a quota or the largest size of a file is used up.

    Ray and writers in other languages tell it in their text alone.
    """
    return code_says_so(error) or NO_SPACE in str(error)


def code_says_so(error: BaseException) -> TypeGuard[OSError]:
    """Whether ``error`` has the operating system's own number for it."""
    return isinstance(error, OSError) and error.errno in _CODES


def full_cache(error: BaseException, what: str, cache: Path, *, need: int | None = None) -> DoesNotFit | None:
    """What to tell where ``error``, or what it arose from, says that ``what`` found no room in ``cache``; else None.

    ``need`` are the bytes that are still missing, None where nobody knows.
    """
    if not any(is_full_disk(each) for each in _with_causes(error)):
        return None
    there = next(place for place in (cache, *cache.parents) if place.exists())
    wanted = "need more" if need is None else f"need {mib(need)}"
    return DoesNotFit(
        f"the disk is full ({NO_SPACE}) while {what} was brought: {wanted}, have {mib(shutil.disk_usage(there).free)}",
        f"the cache {cache}",
        "free space (or set HF_HOME to a folder on a larger disk), and run the same command again",
    )


def mib(count: int) -> str:
    """``count`` bytes in words."""
    return f"{count / (1 << 20):,.1f} MiB"


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__

"""Writes that survive a crash: fsync of files and folders, atomic files, folders that swap places.

What is written, and what a folder must hold to be believed, is in ``manifest`` and ``checkpoint``.
"""

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

PARTIAL = ".tmp-"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


def partial_name(path: Path) -> Path:
    """A new sibling of ``path`` whose name says that it is unfinished."""
    return path.with_name(f"{path.name}{PARTIAL}{uuid4().hex}")


def sync(path: Path) -> None:
    """Wait until ``path``, a file's bytes or a folder's entries, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """``sync`` of every file and folder under ``root``, folders after what they hold."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


def write_file(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``; after a crash it holds the old bytes or the new ones, whole."""
    partial = partial_name(path)
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: Mapping[str, JSON]) -> None:
    """``write_file`` of ``value`` as indented JSON."""
    write_file(path, (json.dumps(value, indent=2) + "\n").encode())


def put_in_place(finished: Path, target: Path) -> None:
    """Rename the folder ``finished`` to ``target``, and remove what stood there before.

    Where the file system can swap two names (Linux: ext4, xfs, btrfs, tmpfs) ``target`` exists at every
    moment.  Elsewhere (NFS) it is missing between two renames, and ``finished`` keeps its unfinished name.
    """
    if not os.path.lexists(target):
        finished.rename(target)
        sync(target.parent)
        return
    if _exchange(finished, target):
        replaced = finished
    else:
        replaced = partial_name(target)
        target.rename(replaced)
        finished.rename(target)
    sync(target.parent)
    discard(replaced)


def discard(path: Path) -> None:
    """Remove a folder or file; a crash in between leaves only an unfinished name, never half of a good one."""
    doomed = path
    if PARTIAL not in path.name:
        doomed = partial_name(path)
        path.rename(doomed)
    if doomed.is_symlink() or doomed.is_file():
        doomed.unlink()
    else:
        shutil.rmtree(doomed, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))

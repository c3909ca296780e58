"""As root: users that nobody is, for untrusted programs to run as, and folders that these users can reach.

For an ordinary user there is nothing to do: the programs run as that user, inside a user namespace.
"""

import contextlib
import ctypes
import grp
import os
import pwd
import queue
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UserError

# above what people get, below what distributions keep for themselves, inside a container's usual 65,536 ids
LOWEST, HIGHEST = 20_000, 65_000
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18


@dataclass(frozen=True)
class Users:
    """Users not in use; None where there is no choice."""

    free: "queue.SimpleQueue[int] | None"

    @contextlib.contextmanager
    def one(self) -> Iterator[int | None]:
        """A user that no other running program has, or None when there is no choice."""
        if self.free is None:
            yield None
            return
        user = self.free.get()
        try:
            yield user
        finally:
            self.free.put(user)


def unused_users(count: int) -> Users:
    """As root ``count`` numbers that are neither a user nor a group, by chance, for others may choose some too."""
    if os.geteuid() != 0:
        return Users(None)
    taken = {user.pw_uid for user in pwd.getpwall()} | {group.gr_gid for group in grp.getgrall()}
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for user in random.Random().sample([number for number in range(LOWEST, HIGHEST) if number not in taken], count):
        free.put(user)
    return Users(free)


@dataclass(frozen=True)
class Reachable:
    """Folders by where they lie and where an unused user finds them: ``pairs`` of the two."""

    pairs: tuple[tuple[Path, Path], ...]

    def enter(self) -> None:
        """Put every folder where it can be reached, for this thread and what it starts alone."""
        moved = [(here, there) for here, there in self.pairs if here != there]
        if not moved:
            return
        _call("unshare", CLONE_NEWNS)
        _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        for here, there in moved:
            _call("mount", bytes(here), bytes(there), None, MS_BIND | MS_REC, None)


@contextlib.contextmanager
def reachable(folders: Sequence[Path]) -> Iterator[Reachable]:
    """Where unused users will find ``folders``, each thread having called ``enter``."""
    if os.geteuid() != 0 or all(map(open_to_all, folders)):
        yield Reachable(tuple((folder, folder) for folder in folders))
        return
    made = Path(tempfile.mkdtemp(prefix="sandbox-", dir="/tmp"))  # every user can reach /tmp, not so every TMPDIR
    try:
        made.chmod(0o755)
        places = [made / str(index) for index in range(len(folders))]
        for place in places:
            place.mkdir(mode=0o755)
        yield Reachable(tuple(zip(folders, places, strict=True)))
    finally:
        _remove_empty(made)


def _remove_empty(made: Path) -> None:
    """Remove the places, which are empty; where a folder is still mounted on one, nothing of that folder is touched."""
    for place in (*made.iterdir(), made):
        with contextlib.suppress(OSError):
            place.rmdir()


def open_to_all(folder: Path) -> bool:
    """Whether any user can get into ``folder``."""
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def _call(name: str, *arguments: bytes | int | None) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, name)
    converted = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if function(*converted) != 0:
        raise UserError(
            f"{name} failed: {os.strerror(ctypes.get_errno())}",
            "preparing the sandbox as root, with Python in a folder closed to other users",
            "run as an ordinary user, or use a Python that all users can reach, such as /usr/bin/python3",
        )

"""The files that go with a submitted job: which they are, how large, and as the archive that Ray unpacks.

Which files are left out is Ray's decision (.gitignore, .rayignore, ``excludes``, its defaults): its own code is asked.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.errors import UserError

LIMIT = 100 * 2**20  # bytes; the job server refuses larger requests
ENTRY_BYTES = 76  # of a file in a zip archive, beside its content and twice its name; nothing is compressed
IGNORE_GITIGNORE = "RAY_RUNTIME_ENV_IGNORE_GITIGNORE"  # Ray's own switch


@dataclass(frozen=True)
class Upload:
    """The files of ``folder`` that are uploaded, by their paths in it, with their sizes in bytes."""

    folder: Path
    files: tuple[tuple[str, int], ...]
    excludes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the archive, about."""
        return sum(size + 2 * len(name.encode()) + ENTRY_BYTES for name, size in self.files)

    def largest(self, count: int) -> list[tuple[str, int]]:
        """The largest files, the largest first."""
        return sorted(self.files, key=lambda file: (-file[1], file[0]))[:count]

    def holds(self, file: Path) -> bool:
        """Whether ``file`` is among them, or a folder that has some of them."""
        try:
            name = file.resolve().relative_to(self.folder).as_posix()
        except ValueError:
            return False
        return any(one == name or one.startswith(f"{name}/") for one, _ in self.files)


def list_upload(folder: Path, excludes: Sequence[str]) -> Upload:
    """What Ray would upload of ``folder``; nothing is read but names and sizes."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    folder = folder.resolve()
    found: list[tuple[str, int]] = []

    def add(path: Path) -> None:
        if path.is_file():
            found.append((path.relative_to(folder).as_posix(), path.stat().st_size))

    given = (*get_runtime_env_default_excludes(), *excludes)
    with _reading():
        _dir_travel(folder, [_get_excludes(folder, list(given))], add, _heeds_gitignore(), _silent())
    return Upload(folder, tuple(sorted(found)), given)


def package(upload: Upload) -> tuple[str, bytes]:
    """The archive of the files, and the name that Ray gives to this content; ``UserError`` when it is too large."""
    from ray._private.runtime_env.packaging import create_package, get_uri_for_directory

    if upload.size > LIMIT:
        raise too_large(upload)
    folder, excludes = str(upload.folder), list(upload.excludes)
    with tempfile.TemporaryDirectory() as directory, _reading():
        file = Path(directory) / "package.zip"
        logger = _silent()
        name = str(get_uri_for_directory(folder, _heeds_gitignore(), excludes))
        create_package(folder, file, _heeds_gitignore(), excludes=excludes, logger=logger)
        return name.removeprefix("gcs://"), file.read_bytes()


def too_large(upload: Upload) -> UserError:
    """The refusal of an upload that the server would refuse."""
    name, size = upload.largest(1)[0]
    return UserError(
        f"{upload.size / 2**20:,.0f} MiB are to be uploaded, {LIMIT / 2**20:.0f} at most; "
        f"the largest is {name} with {size / 2**20:,.1f} MiB",
        str(upload.folder),
        "leave files out with .gitignore, .rayignore or the runtime environment's excludes",
    )


def _heeds_gitignore() -> bool:
    return os.environ.get(IGNORE_GITIGNORE, "0") != "1"


def _silent() -> logging.Logger:
    """Ray's own logger of uploads, which would tell of each ignore file and large file."""
    from ray._private.runtime_env.packaging import default_logger

    logger: logging.Logger = default_logger
    logger.setLevel(logging.CRITICAL)
    return logger


@contextmanager
def _reading() -> Iterator[None]:
    """A file that went meanwhile or cannot be read is the user's to know."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"a file cannot be uploaded ({error.strerror})", str(error.filename), "leave it out, or try again"
        ) from error

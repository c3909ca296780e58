"""Objects of a bucket by name: listed, read, written, created only if absent; every failure told in one line.

What the objects mean is in ``register`` and ``layout``; what a failure is called in ``faults``.
"""

import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.config.storage import scheme_of
from runner.errors import UserError
from runner.runs.remote.faults import told

PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
CONNECT_S = 5
ANSWER_S = 20.0
SLOWEST_BYTES_S = 64 << 10  # of a connection that is still waited for


class Store:
    """The objects under ``url``, as ``s3://bucket/prefix`` or ``gs://bucket/prefix``; keys are relative to it.

    Nothing is cached and nothing tried twice.  ``FileNotFoundError`` for an object that is not there, else
    ``StorageFault``: see ``faults``.  Credentials and endpoint are found as the cloud's own tools find them.
    """

    def __init__(self, url: str, system: Any = None) -> None:
        self.url = url.rstrip("/")
        self._scheme = scheme_of(url)
        self._root = self.url.partition("://")[2]
        self._system = _system(self._scheme) if system is None else system

    def under(self, name: str) -> "Store":
        """The objects under ``name``."""
        return Store(f"{self.url}/{name}", self._system)

    def keys(self, prefix: str) -> list[str]:
        """All keys that begin with ``prefix/``, sorted."""
        found = self._listed("find", f"{self._root}/{prefix}".rstrip("/"))
        return sorted(path.removeprefix(f"{self._root}/") for path in found)

    def names(self) -> list[str]:
        """The first part of all keys, sorted, each once."""
        found = self._listed("ls", self._root, detail=False)
        return sorted({path.rstrip("/").rpartition("/")[2] for path in found})

    def read(self, key: str) -> bytes:
        """The content of an object."""
        content: bytes = self._asked("cat_file", f"{self._root}/{key}")
        return content

    def modified(self, key: str) -> datetime:
        """When an object was last written, by the clock of the store."""
        facts: dict[str, Any] = self._asked("info", f"{self._root}/{key}")
        moment: datetime = facts["LastModified"] if self._scheme == "s3" else facts["mtime"]
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def write(self, key: str, content: bytes) -> None:
        """Make or replace an object."""
        self._asked("pipe_file", f"{self._root}/{key}", content)

    def create(self, key: str, content: bytes) -> bool:
        """Make an object unless it is there; of several that try at once exactly one gets True.

        After a fault it may have been made all the same: the content tells by whom.
        """
        try:
            self._asked("pipe_file", f"{self._root}/{key}", content, mode="create")
        except FileExistsError:
            return False
        return True

    def put(self, path: Path, key: str) -> None:
        """Make or replace an object by a file."""
        self._asked("put_file", str(path), f"{self._root}/{key}", seconds=_patience(path.stat().st_size))

    def get(self, key: str, path: Path, size: int = 0) -> None:
        """Bring an object, of ``size`` bytes, into a new file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._asked("get_file", f"{self._root}/{key}", str(path), seconds=_patience(size))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no fault."""
        for key in keys:
            with suppress(FileNotFoundError):
                self._asked("rm_file", f"{self._root}/{key}")

    def _listed(self, name: str, *arguments: Any, **options: Any) -> list[str]:
        try:
            return list(self._asked(name, *arguments, **options))
        except FileNotFoundError:
            return []

    def _asked(self, name: str, *arguments: Any, seconds: float | None = None, **options: Any) -> Any:
        """What the library's method ``name`` returns, within ``seconds``: its own time-outs do not cover all waits."""
        from fsspec.asyn import sync

        try:
            return sync(
                self._system.loop, getattr(self._system, f"_{name}"), *arguments, timeout=seconds or ANSWER_S, **options
            )
        except Exception as error:
            raise told(error, self.url) from error


def _patience(size: int) -> float:
    """Seconds that a file may take."""
    return ANSWER_S + size / SLOWEST_BYTES_S


def check_package(url: str) -> None:
    """``UserError`` with the command that installs it, if the package for ``url`` is missing; imports none."""
    scheme = scheme_of(url)
    package = PACKAGES[scheme]
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"storage on {scheme}:// needs the package {package}",
            url,
            f"pip install {package} on all machines",
        )


def _system(scheme: str) -> Any:
    import fsspec

    plain = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme == "s3":
        once = {"max_attempts": 1, "mode": "standard"}
        waits = {"connect_timeout": CONNECT_S, "read_timeout": ANSWER_S, "retries": once}
        system = fsspec.filesystem("s3", config_kwargs=waits, **plain)
        system.retries = 1  # s3fs would try five times, whatever its own options say
        return system
    return fsspec.filesystem("gs", **plain)

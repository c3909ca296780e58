"""MANIFEST.json: what a folder holds, byte for byte, and whether that is still true.

When a folder is written, published or removed is decided in ``checkpoint``.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RunnerError, UserError
from runner.runs.durable import JSON, write_json
from runner.runs.environment import runner_version

MANIFEST_FILE = "MANIFEST.json"
FORMAT = 1
_CHUNK = 1 << 20


class Damaged(RunnerError):
    """A folder is not what its manifest says; ``str`` is the reason, one line."""


@dataclass(frozen=True)
class Manifest:
    """What the writer of a folder said about it: step, attempt, identity (stamp) and package versions."""

    step: int
    attempt: int
    stamp: Mapping[str, str]
    versions: Mapping[str, str]

    def difference(self, stamp: Mapping[str, str], *, recorded_only: bool = False) -> str | None:
        """The entries of ``stamp`` that this folder was not written for, both values named; None if all agree.

        ``recorded_only`` leaves out those that its writer, an older version, did not tell.
        """
        differing = [
            f"{key} is {self.stamp.get(key, 'not recorded')}, this run has {value}"
            for key, value in stamp.items()
            if self.stamp.get(key) != value and (key in self.stamp or not recorded_only)
        ]
        return "; ".join(differing) or None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Describe every file under ``folder`` in its MANIFEST.json, durably."""
    files: dict[str, JSON] = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in _files(folder)
    }
    body: dict[str, JSON] = {
        "format": FORMAT,
        "runner": runner_version(),
        "step": manifest.step,
        "attempt": manifest.attempt,
        "stamp": dict(manifest.stamp),
        "versions": dict(manifest.versions),
        "files": files,
    }
    write_json(folder / MANIFEST_FILE, {**body, "seal": _seal(body)})


def verified(folder: Path, *, contents: bool = True) -> Manifest:
    """The manifest of ``folder``, after checking that the folder holds exactly what it lists.

    ``contents=False`` leaves out the checksums and looks at names and sizes only.
    ``Damaged`` with the first fault found; ``UserError`` if a newer version of runner wrote it.
    """
    body = _read(folder)
    recorded = _mapping(body, "files")
    present = set(_files(folder)) - {MANIFEST_FILE}
    if missing := sorted(recorded.keys() - present):
        raise Damaged(f"{missing[0]} is missing")
    if extra := sorted(present - recorded.keys()):
        raise Damaged(f"{extra[0]} is not in the manifest")
    for name, entry in sorted(recorded.items()):
        _check_file(folder / name, name, entry, contents=contents)
    return _manifest(body)


def _read(folder: Path) -> dict[str, JSON]:
    if folder.is_symlink() or not folder.is_dir():
        raise Damaged("it is a symbolic link" if folder.is_symlink() else "it is not a folder")
    path = folder / MANIFEST_FILE
    if path.is_symlink() or not path.is_file():
        raise Damaged(f"{MANIFEST_FILE} is missing or no plain file")
    try:
        body = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{MANIFEST_FILE} is no JSON") from error
    if not isinstance(body, dict) or body.pop("seal", None) != _seal(body):
        raise Damaged(f"{MANIFEST_FILE} does not match its own checksum")
    _refuse_newer(folder, body)
    return body


def _refuse_newer(folder: Path, body: Mapping[str, JSON]) -> None:
    found = body.get("format")
    if not isinstance(found, int):
        raise Damaged(f"{MANIFEST_FILE} names no format")
    if found > FORMAT:
        raise UserError(
            f"the checkpoint has format {found}, written by runner {body.get('runner')}; "
            f"this is runner {runner_version()}, which reads up to format {FORMAT}",
            str(folder),
            "update runner, or start anew with --resume never",
        )


def _manifest(body: Mapping[str, JSON]) -> Manifest:
    step, attempt = body.get("step"), body.get("attempt")
    if not isinstance(step, int) or not isinstance(attempt, int):
        raise Damaged(f"{MANIFEST_FILE} names no step or attempt")
    stamp = {key: str(value) for key, value in _mapping(body, "stamp").items()}
    versions = {key: str(value) for key, value in _mapping(body, "versions").items()}
    return Manifest(step, attempt, stamp, versions)


def _mapping(body: Mapping[str, JSON], key: str) -> dict[str, JSON]:
    value = body.get(key)
    if not isinstance(value, dict):
        raise Damaged(f"{MANIFEST_FILE} has no {key}")
    return value


def _check_file(path: Path, name: str, entry: JSON, *, contents: bool) -> None:
    if not isinstance(entry, dict):
        raise Damaged(f"{MANIFEST_FILE} describes {name} wrongly")
    size = path.stat().st_size
    if size != entry.get("bytes"):
        raise Damaged(f"{name} has {size} bytes, written were {entry.get('bytes')}")
    if contents and _sha256(path) != entry.get("sha256"):
        raise Damaged(f"{name} differs from its checksum")


def _files(folder: Path) -> list[str]:
    """Names of all files under ``folder``, relative, ``/`` between parts; ``Damaged`` on anything but plain files."""
    names = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                names.append(relative)
            elif not stat.S_ISDIR(mode):
                raise Damaged(f"{relative} is a symbolic link or no plain file")
    return sorted(names)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _seal(body: Mapping[str, JSON]) -> str:
    """Checksum of the manifest itself: a flipped bit in it must not read as another step or format."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

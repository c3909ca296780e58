"""What a run ran on: versions, platform, devices, commit and fingerprints, for environment.json.

Never environment variables: they hold tokens.  Devices and fingerprints are measured elsewhere and passed in.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from runner import __version__
from runner.config.cores import usable_cores
from runner.runs.durable import JSON, write_json

PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "numpy",
    "flash-attn-4",
    "optuna",
    "peft",
    "ray",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "triton",
)
_GIT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Environment:
    """One start of a run: where it ran, with which versions, on which code, data and base model."""

    versions: Mapping[str, str]
    python: str
    platform: str
    cpus: int
    commit: str | None
    devices: tuple[str, ...]
    fingerprints: Mapping[str, str]

    def as_json(self) -> dict[str, JSON]:
        """The record as environment.json holds it."""
        return {
            "versions": dict(self.versions),
            "python": self.python,
            "platform": self.platform,
            "cpus": self.cpus,
            "commit": self.commit,
            "devices": list(self.devices),
            "fingerprints": dict(self.fingerprints),
        }


def runner_version() -> str:
    """Version of this package as installed."""
    return __version__


def package_versions() -> dict[str, str]:
    """Version of each package that can change a result; those not installed are left out.  Nothing is imported."""
    installed = {name: version for name in PACKAGES if (version := _version(name))}
    return {**installed, "runner": __version__}


def describe(*, devices: Sequence[str] = (), fingerprints: Mapping[str, str] | None = None) -> Environment:
    """This process's environment; ``devices`` by name, ``fingerprints`` of data and model by what they are of."""
    return Environment(
        versions=package_versions(),
        python=sys.version.split()[0],
        platform=platform.platform(),
        cpus=usable_cores(),
        commit=_commit(),
        devices=tuple(devices),
        fingerprints=dict(fingerprints or {}),
    )


def record_environment(path: Path, environment: Environment) -> tuple[str, ...]:
    """Write environment.json; returns what differs from the start before it, one line each.

    Earlier starts stay under the key ``earlier``: losses across different versions are not bit-identical.
    """
    current = environment.as_json()
    before = _read(path)
    if before is None:
        write_json(path, current)
        return ()
    earlier = before.pop("earlier", [])
    assert isinstance(earlier, list)
    changed = _changes(before, current, "")
    write_json(path, {**current, "earlier": [*earlier, before] if changed else earlier})
    return tuple(changed)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _read(path: Path) -> dict[str, JSON] | None:
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("earlier", []), list) else None


def _changes(before: Mapping[str, JSON], after: Mapping[str, JSON], prefix: str) -> list[str]:
    lines: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _changes(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old} -> {new}")
    return lines


def _commit() -> str | None:
    """Commit of the checkout this package runs from, with ``+changes`` when files differ; None outside a checkout."""
    source = Path(__file__).resolve()
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changed = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None

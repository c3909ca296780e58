"""A job from its file and the command line, its hash, its differences from another, and its JSON Schema.

What the keys mean is in ``job``; how a file is read and checked in ``document`` and ``faults``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.config.document import Document, read_document
from runner.config.faults import check
from runner.config.job import Job
from runner.config.overrides import apply_overrides

DEMO = "demo.yaml"


def load_job(file: Path | None, overrides: Sequence[str] = ()) -> Job:
    """The job of ``file`` (the built-in demo when None) with ``-o`` overrides applied.

    Raises ``UserError`` when the file cannot be read and ``JobFileError`` with every fault it has.
    """
    return check(Job, apply_overrides(_document(file), overrides))


def demo_file() -> Path:
    """The demo's job file: the checkout's ``jobs/demo.yaml``, or its copy in an installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "jobs" / DEMO
    return checkout if checkout.is_file() else package / "jobs" / DEMO


def _document(file: Path | None) -> Document:
    return read_document(demo_file() if file is None else file)


def job_hash(job: Job) -> str:
    """64 hex digits, equal exactly for jobs whose every key is equal; defaults and file layout do not matter."""
    canonical = json.dumps(job.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def job_differences(a: Job, b: Job) -> tuple[str, ...]:
    """Each key in which the jobs differ, as ``train.steps: 100 -> 200``, in the order of the job's fields."""
    before, after = _flat(a.model_dump(mode="json")), _flat(b.model_dump(mode="json"))
    keys = dict.fromkeys([*before, *after])
    return tuple(
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in keys
        if before.get(key) != after.get(key)
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value, ensure_ascii=False)
    return flat


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a job file, for editors to complete and check with."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, **Job.model_json_schema(), "title": "runner job file"}

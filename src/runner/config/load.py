"""A job from its file and the command line, its hash, and its JSON Schema.

What the keys mean is in ``job``; how a file is read and checked in ``document`` and ``faults``.
"""

import hashlib
import json
from collections.abc import Sequence
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
    """64 hex digits, equal exactly for jobs whose every key is equal; defaults and file layout do not matter.

    ``train.strategy`` does not count, as the number of workers does not: a run goes on under another one.
    """
    values = job.model_dump(mode="json", exclude={"train": {"strategy"}})
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a job file, for editors to complete and check with."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, **Job.model_json_schema(), "title": "runner job file"}

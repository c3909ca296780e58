"""The runtime environment of a submitted job: read from a file, checked, completed with what a job needs to save.

Which files are uploaded is ``upload``'s.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.document import Document, read_document
from runner.errors import UserError

FILE = Path("cluster/runtime-env.yaml")
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
STOP_WAIT_S = 60  # Ray's own 3 s are too short to save
SECRET = re.compile(r"SECRET|PASSWORD|CREDENTIAL|TOKEN($|_)|(^|_)KEY($|_)", re.IGNORECASE)  # not TOKENIZERS_PARALLELISM


@dataclass(frozen=True)
class RuntimeEnv:
    """What Ray prepares for a job before it starts it, without the working directory; ``source`` is for people."""

    values: Mapping[str, Any]
    source: str

    @property
    def excludes(self) -> tuple[str, ...]:
        """Patterns of files that are not uploaded."""
        return tuple(self.values.get("excludes", ()))


def read_runtime_env(file: Path | None) -> RuntimeEnv:
    """The environment of ``file``; when None of cluster/runtime-env.yaml in the current folder, if it is there.

    ``UserError`` for a working directory in it, for variables that are not text, and for secrets: the record of a job
    shows them to everyone who can see the dashboard.
    """
    file = FILE if file is None and FILE.is_file() else file
    values: dict[str, Any] = {}
    if file is not None:
        document = read_document(file)
        _check(document)
        values = json.loads(json.dumps(document.values))
    wait = values.setdefault("env_vars", {}).setdefault(STOP_WAIT, str(STOP_WAIT_S))
    if not re.fullmatch(r"[0-9]{1,5}", wait):
        raise UserError(f"{STOP_WAIT} is {wait!r}", str(file), f'write whole seconds, such as "{STOP_WAIT_S}"')
    return RuntimeEnv(values, "built in" if file is None else str(file))


def complete(environment: RuntimeEnv, package: str) -> dict[str, Any]:
    """What the Jobs API takes: ``environment`` with the uploaded ``package`` as its working directory.

    Files of requirements are read by Ray here.  ``UserError`` for what Ray does not take.
    """
    import ray.runtime_env

    try:
        made = ray.runtime_env.RuntimeEnv(**environment.values, working_dir=f"gcs://{package}")
    except (TypeError, ValueError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"Ray does not take it ({lines[0]})", environment.source, "mend the file") from error
    values: dict[str, Any] = made.to_dict()
    return values


def _check(document: Document) -> None:
    name, values = document.name, document.values
    if document.faults:
        raise UserError(document.faults[0])
    if "working_dir" in values:
        raise UserError("working_dir is set", name, "leave it out: the current folder is uploaded")
    excludes = values.get("excludes", ())
    if not (isinstance(excludes, tuple) and all(isinstance(pattern, str) for pattern in excludes)):
        raise UserError("excludes is no list of patterns", name, "write it as [runs/, '*.safetensors']")
    variables = values.get("env_vars", {})
    if not isinstance(variables, Mapping):
        raise UserError("env_vars is no mapping", name, 'write it as {NAME: "value"}')
    for key, value in variables.items():
        if not isinstance(value, str):
            raise UserError(f"env_vars.{key} is {value!r}, not text", name, f'write it in quotes: "{value}"')
        if SECRET.search(key):
            raise UserError(
                f"env_vars.{key} looks like a secret, and the job's record shows it to everyone who may see it",
                name,
                "set it in the environment of the cluster's nodes",
            )

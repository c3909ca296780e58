"""Where a job runs, as types: the scaling profile, read from a file of ``cluster/`` or from the command line.

What is trained is in ``job``; starting and joining Ray is done by those who launch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictInt, StrictStr, field_validator

from runner.config.document import Document, Value, read_document
from runner.config.faults import check
from runner.config.job import Count, Section
from runner.config.overrides import set_value


class Cluster(Section):
    """How many workers, what each gets, on which Ray cluster, and where runs are kept."""

    address: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        default=None,
        description="host:port of a running Ray cluster; null starts Ray here. A Ray job joins the one that runs it.",
    )
    workers: Count = Field(default=1, description="Processes that train together, each with its own copy of the model.")
    cpus_per_worker: Count | None = Field(
        default=None, description="CPU cores of a worker, a count; null shares out the cores that are there."
    )
    gpus_per_worker: Annotated[StrictInt, Field(ge=0, le=1)] | None = Field(
        default=None, description="GPUs of a worker, 0 or 1; null takes one where there is one."
    )
    gpu_memory_gib: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = Field(
        default=None, description="Most GPU memory a worker may take, GiB; null takes what the card has."
    )
    max_failures: Annotated[StrictInt, Field(ge=0)] = Field(
        default=3, description="Times that dead workers are started again, from the last checkpoint; a count."
    )
    storage: Annotated[StrictStr, Field(min_length=1)] = Field(
        default="runs", description="Folder of the runs; with several machines one that all of them see."
    )

    @field_validator("storage")
    @classmethod
    def _is_a_folder(cls, storage: str) -> str:
        if "://" in storage:
            raise ValueError(f'storage is "{storage}"; it must be a folder: mount the bucket and give its path')
        return storage


def load_cluster(file: Path | None, options: Mapping[str, Value] | None = None) -> Cluster:
    """The cluster profile of ``file`` (this machine when None), with the command line's ``options`` by key.

    Raises ``UserError`` when the file cannot be read and ``JobFileError`` with every fault it has.
    """
    document = Document("the command line", {}, {}) if file is None else read_document(file)
    for key, value in (options or {}).items():
        document = set_value(document, key, value, f"--{key}")
    return check(Cluster, document)

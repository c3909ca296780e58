"""Where a job runs, as types: the scaling profile, read from a file of ``cluster/`` or from the command line.

What is trained is in ``job``; starting and joining Ray is done by those who launch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StrictInt, StrictStr, field_validator, model_validator

from runner.config.document import Document, Value, read_document
from runner.config.faults import check
from runner.config.job import Count, Section
from runner.config.overrides import set_value
from runner.config.storage import fault_of, is_url


class Cluster(Section):
    """How many workers, what each gets, on which Ray cluster, and where runs are kept."""

    address: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        default=None,
        description="host:port of a running Ray cluster; null starts Ray here. A Ray job joins the one that runs it.",
    )
    workers: Count = Field(default=1, description="Processes that train together, each with its own copy of the model.")
    min_workers: Count | None = Field(
        default=None,
        description="Fewest workers to train with: as many as the cluster has room for, up to workers; null: all.",
    )
    resize_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = Field(
        default=60.0, description="Seconds between two looks at whether more workers find room; with min_workers."
    )
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
        default="runs",
        description="Where runs are kept: a folder, which all machines see, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX.",
    )

    storage_patience_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = Field(
        default=600.0,
        description="Seconds for which a bucket that does not answer is tried again before the run ends.",
    )

    @property
    def workers_words(self) -> str:
        """How many workers, as people say it."""
        if self.min_workers is not None and self.min_workers < self.workers:
            return f"{self.min_workers} to {self.workers} workers"
        return f"{self.workers} {'worker' if self.workers == 1 else 'workers'}"

    @field_validator("storage")
    @classmethod
    def _is_a_place(cls, storage: str) -> str:
        if is_url(storage) and (fault := fault_of(storage)) is not None:
            raise ValueError(fault)
        return storage

    @model_validator(mode="after")
    def _least_is_not_most(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers} and workers is {self.workers}: give at most as many")
        return self


def load_cluster(file: Path | None, options: Mapping[str, Value] | None = None) -> Cluster:
    """The cluster profile of ``file`` (this machine when None), with the command line's ``options`` by key.

    Raises ``UserError`` when the file cannot be read and ``JobFileError`` with every fault it has.
    """
    document = Document("the command line", {}, {}) if file is None else read_document(file)
    for key, value in (options or {}).items():
        document = set_value(document, key, value, f"--{key}")
    return check(Cluster, document)

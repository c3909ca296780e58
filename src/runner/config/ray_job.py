"""Whether this process is the entry point of a Ray job, and what follows: its cluster, and where folders last.

Read from what Ray's job server sets in the environment; Ray itself is not imported.
"""

import os
from pathlib import Path

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set for the entry point alone, not for the workers of the job
CLUSTER = "RAY_ADDRESS"


def cluster_of_job() -> str | None:
    """``host:port`` of the cluster that runs this process as a job; None for a process that no job server started."""
    return os.environ.get(CLUSTER) if JOB_CONFIG in os.environ else None


def lasting(folder: str) -> str:
    """``folder``; in a Ray job a relative one is taken from the home folder of the cluster's user.

    The working directory of a job is a copy of what was uploaded, which Ray removes when the job is over.
    """
    if cluster_of_job() is None or "://" in folder:
        return folder
    return str(Path.home() / Path(folder).expanduser())

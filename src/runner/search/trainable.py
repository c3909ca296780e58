"""The class that Ray Tune runs: one call of ``step`` is one rung, and the next trial takes over the process.

What it trains is in ``worker``.
"""

import json
from dataclasses import asdict
from typing import Any

from ray import tune

from runner.config.job import Job
from runner.search.course import task_of
from runner.search.worker import AnyBase, Place, TrialWorker, load_resident

REPORT = "report"  # the one key of a result that is ours: JSON text, which Tune neither flattens nor rounds


class SearchTrainable(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """A trial; ``reset_config`` begins the next one on the base that is loaded."""

    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        """The base that trials share."""
        return load_resident(job, largest_rank, place)

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What Tune reserves for a trial."""
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the first task of this process."""
        self._worker = TrialWorker(Place(**json.loads(config["place"])), self.load)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next task."""
        self._worker.begin(task_of(json.loads(new_config["task"])))
        return True

    def step(self) -> dict[str, Any]:
        """One rung."""
        return {REPORT: json.dumps(asdict(self._worker.advance()))}

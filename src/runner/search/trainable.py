"""The class that Ray Tune runs: one call of ``step`` is one rung, and the next trial takes over the process.

What it trains is in ``worker``.
"""

import json
from dataclasses import asdict
from typing import Any

from ray import tune

from runner.config.job import Job
from runner.search.course import task_of
from runner.search.crew import Crew
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
        """What Tune reserves for a trial: a bundle for each of its workers."""
        workers = Place(**json.loads(config["place"])).workers
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}] * workers)

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the first task of this process."""
        place = Place(**json.loads(config["place"]))
        self._worker = TrialWorker(place, self.load)
        self._crew = Crew(place, self.load) if place.workers > 1 else None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next task."""
        task = json.loads(new_config["task"])
        if self._crew is not None:
            self._crew.begin(task)
        self._worker.begin(task_of(task))
        return True

    def step(self) -> dict[str, Any]:
        """One rung."""
        advance = self._worker.advance
        report = advance() if self._crew is None else self._crew.advance(advance)
        return {REPORT: json.dumps(asdict(report))}

    def cleanup(self) -> None:
        """End the other workers; what Tune reserved for them is free then."""
        if self._crew is not None:
            self._crew.disband()

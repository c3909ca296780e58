"""What a configuration would take, by the plan: whether it fits, and the arithmetic of its step.

Nothing is loaded; the device is told by those who know it.
"""

from dataclasses import dataclass, field

from runner.config.job import Job, Lora, Model
from runner.errors import DoesNotFit
from runner.plan import Device, Geometry, read_geometry, settle
from runner.plan.flops import flops_a_token, read_windows


@dataclass
class Costs:
    """Asks the plan about jobs on ``device``; sizes of a model are read once."""

    device: Device
    _geometries: dict[tuple[Model, Lora | None], Geometry] = field(default_factory=dict)

    def why_unfit(self, job: Job) -> str:
        """Why ``job`` does not fit on the device, with the key to turn; empty when it fits."""
        try:
            settle(job, self._geometry(job), self.device, ranks=1)
        except DoesNotFit as error:
            return str(error)
        return ""

    def token_flops(self, job: Job) -> float:
        """FLOPs of a token of a training step of ``job``, every document taken as long as a buffer."""
        return flops_a_token(job, self._geometry(job), [job.data.max_length], read_windows(job.model))

    def largest_fitting(self, job: Job, rank: int) -> int:
        """The largest of ``rank``, its half, its quarter, ... with which ``job`` fits; 1 when none does."""
        while rank > 1 and self.why_unfit(with_rank(job, rank)):
            rank //= 2
        return max(rank, 1)

    def _geometry(self, job: Job) -> Geometry:
        key = job.model, job.lora
        if key not in self._geometries:
            self._geometries[key] = read_geometry(job)
        return self._geometries[key]


def with_rank(job: Job, rank: int) -> Job:
    """``job`` with another rank."""
    assert job.lora is not None
    return job.model_copy(update={"lora": job.lora.model_copy(update={"rank": rank})})

"""Tune's class over a base that is a formula: everything of a real search but the training."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.job import Job
from runner.errors import Diverged, DoesNotFit, TrainingFailed
from runner.search.course import Task
from runner.search.records import Rung
from runner.search.trainable import SearchTrainable
from runner.search.worker import AnyBase, AnyTrunk, Place
from runner.train.world import World
from search_fakes import BASE_LOSS, QUESTION_TOKENS, rung

FIRST_SEED = 17  # the demo job's; another one is a repeat


@dataclass(frozen=True)
class FakeParked:
    job: Job
    stop_step: int
    nbytes: int = 1

    def tip(self) -> "FakeParked":
        return self


class FakeTrunk:
    """Larger ranks take longer, so that trials end out of order."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def to_rung(self, stop_step: int, progress: Callable[[int], None] | None = None) -> Rung:
        assert self.job.lora is not None
        for step in range(self.job.lora.rank):
            time.sleep(0.05)
            if progress is not None:
                progress(step)
        self.measured = stop_step
        seed = None if self.job.train.seed == FIRST_SEED else self.job.train.seed
        return rung(Task("any", 0, seed, self.job.model_dump(mode="json"), (), 0, 8), stop_step)

    def park(self) -> FakeParked:
        return FakeParked(self.job, self.measured)


class FakeBase:
    """Writes a line for each time that it is loaded."""

    question_tokens, base_loss = QUESTION_TOKENS, BASE_LOSS

    def __init__(self, place: Place) -> None:
        with Path(place.folder, "loads.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")

    def why_not(self, job: Job) -> str | None:
        del job
        return None

    def start(
        self,
        job: Job,
        *,
        warmup_steps: int,
        parked: FakeParked | None = None,
        passing: Sequence[int] = (),
        stable: Sequence[int] = (),
    ) -> AnyTrunk:
        assert warmup_steps >= 0
        assert list(passing) == sorted(passing)
        assert list(stable) == sorted(stable)
        assert parked is None or parked.job == job
        return FakeTrunk(job)


class FakeTrainable(SearchTrainable):
    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        assert job.lora is not None
        assert job.lora.rank <= largest_rank
        return FakeBase(place)


class PairTrainable(SearchTrainable):
    """Two processes that wait for each other, so that both take part however slow the machine is."""

    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        del job, largest_rank
        base, deadline = FakeBase(place), time.monotonic() + 120.0
        while len(Path(place.folder, "loads.txt").read_text().split()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return base


class DyingBase(FakeBase):
    """Takes its process with it in the second trial, once."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.started = 0
        self.died = Path(place.folder, "died")

    def start(self, job: Job, **ways: Any) -> AnyTrunk:
        self.started += 1
        if self.started == 2 and not self.died.exists():
            self.died.touch()
            os._exit(1)
        return super().start(job, **ways)


class FatalTrunk(FakeTrunk):
    """Takes its process with it after its first rung."""

    measured = 0

    def to_rung(self, stop_step: int, progress: Callable[[int], None] | None = None) -> Rung:
        if self.measured:
            os._exit(1)
        return super().to_rung(stop_step, progress)


class FatalBase(FakeBase):
    def start(self, job: Job, **ways: Any) -> AnyTrunk:
        del ways
        return FatalTrunk(job)


class FailingBase(FakeBase):
    """Trains one trial; all others fail, with the same base or loaded anew."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.fails = len(Path(place.folder, "loads.txt").read_text().split()) > 1

    def start(self, job: Job, **ways: Any) -> AnyTrunk:
        if self.fails:
            raise TrainingFailed("no such kernel", "step 3", "install it")
        self.fails = True
        return super().start(job, **ways)


class TogetherTrunk(FakeTrunk):
    """Its workers wait for each other in every rung."""

    def to_rung(self, stop_step: int, progress: Callable[[int], None] | None = None) -> Rung:
        assert World.of_group("cpu").count(True) == 2
        return super().to_rung(stop_step, progress)


class TogetherBase(FakeBase):
    """The base of one of two workers; the second takes its process with it in the second trial, once."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.started, self.died = 0, Path(place.folder, "died")

    def start(self, job: Job, **ways: Any) -> AnyTrunk:
        del ways
        self.started += 1
        if not World.of_group("cpu").leads and self.started == 2 and not self.died.exists():
            self.died.touch()
            os._exit(1)
        return TogetherTrunk(job)


class TogetherTrainable(SearchTrainable):
    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        del job, largest_rank
        return TogetherBase(place)


class HalfTrainable(SearchTrainable):
    """The first of two workers finds no memory for the base of the largest rank."""

    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        del job
        if World.of_group("cpu").leads:
            raise DoesNotFit("no memory", f"rank {largest_rank}", "buy some")
        return TogetherBase(place)


class DyingTrainable(SearchTrainable):
    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        del job, largest_rank
        return DyingBase(place)


class FailingTrainable(SearchTrainable):
    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        del job, largest_rank
        return FailingBase(place)


class DivergingTrainable(SearchTrainable):
    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        del job, largest_rank, place
        raise Diverged("the loss is not finite", "step 3", "lower train.learning_rate")


class FatalTrainable(SearchTrainable):
    @staticmethod
    def load(job: Job, largest_rank: int, place: Place) -> AnyBase:
        del job, largest_rank
        return FatalBase(place)

"""What a trial's process does: it keeps the base from task to task, and measures one rung after the other.

Which tasks come is ``course``'s, how they get here ``trainable``'s.
"""

import gc
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import torch

from runner.config.job import Job
from runner.distributed.worker import MISTAKES, TRACE_FILE
from runner.errors import Diverged, DoesNotFit, RunnerError, Stopped
from runner.plan import limit_memory
from runner.runs import JSON, RunFolder
from runner.search.course import Task
from runner.search.records import Rung, TrialEnding
from runner.search.waiting import AnyParked, Waiting
from runner.train.world import World

STOP_LOOK_S = 0.5  # between two looks for a request to stop
LIVE = "live"  # folder of a search in which each task's process tells the step it has reached


@dataclass(frozen=True)
class Place:
    """Where and with what a trial's process works."""

    folder: str  # of the search
    stop_file: str
    cache: str
    threads: int
    gpus: float
    gpu_memory_gib: float | None = None
    workers: int = 1  # that train a trial together, each with these threads and GPUs


@dataclass(frozen=True)
class Report:
    """What one call of ``advance`` came to: a rung, or an end without one; plain values, so that it travels."""

    kind: Literal["rung", "end", "cut"]  # cut: a stop was asked for in the middle
    rung: dict[str, JSON] | None = None
    base_loss: float = 0.0
    question_tokens: tuple[int, ...] = ()
    ending: TrialEnding | None = None
    why: str = ""
    error: tuple[str, str, str, str] | None = None  # class and parts of a RunnerError that ended it


class AnyTrunk(Protocol):
    """What is needed of ``runner.search.trunk.Trunk``."""

    def to_rung(self, stop_step: int, progress: Callable[[int], None] | None = None) -> Rung: ...

    def park(self) -> AnyParked: ...


class AnyBase(Protocol):
    """What is needed of ``runner.search.resident.ResidentBase``."""

    @property
    def question_tokens(self) -> tuple[int, ...]: ...

    @property
    def base_loss(self) -> float: ...

    def why_not(self, job: Job) -> str | None: ...

    def start(
        self,
        job: Job,
        *,
        warmup_steps: int,
        parked: Any = None,
        passing: Sequence[int] = (),
        stable: Sequence[int] = (),
    ) -> AnyTrunk: ...  # parked: by one of its trunks


Loader: TypeAlias = Callable[[Job, int, Place], AnyBase]  # job, largest rank, place


class TrialWorker:
    """Trains tasks one after the other; ``load`` makes the base that they share while it suits them.

    Where several workers train a trial together each has one; the one that ``leads`` tells the step and may stop.
    """

    def __init__(self, place: Place, load: Loader, *, leads: bool = True) -> None:
        self._place, self._load, self._leads = place, load, leads
        self._folder = RunFolder(Path(place.folder))
        self._folder.root.mkdir(parents=True, exist_ok=True)  # on another machine than the search's it is a new one
        self._base: AnyBase | None = None
        self._trunk: AnyTrunk | None = None
        self._waiting = Waiting()
        self._task: Task
        self._next = 0  # of the task's stop steps
        self._looked = 0.0

    def begin(self, task: Task) -> None:
        """Make ``task`` the one that ``advance`` trains; nothing is loaded yet.  The one before may go on later."""
        self._waiting.cut_all_but(task.best)
        if self._trunk is not None and self._task.seed is None:
            best = self._task.trial == task.best
            if best or self._next < len(self._task.stop_steps):
                parked = self._trunk.park()
                self._waiting.keep(self._task.trial, parked if best else parked.tip())
        self._task, self._job, self._next, self._trunk = task, Job.model_validate(dict(task.job)), 0, None

    def advance(self) -> Report:
        """Train the task to its next stop step.  Errors that a fresh process would meet again are told, not raised."""
        try:
            rung, base = self._measured()
            return Report("rung", asdict(rung), base.base_loss, base.question_tokens)
        except Stopped:
            self._trunk = None
            return Report("cut")
        except Diverged as error:
            self._trunk = None
            return Report("end", ending="diverged", why=str(error))
        except (DoesNotFit, torch.OutOfMemoryError) as error:
            self._forget_base()
            return Report("end", ending="infeasible", why=" ".join(str(error).split())[:500])
        except RunnerError as error:
            self._forget_base()
            parts = type(error).__name__, error.what, error.where, error.remedy
            return Report("end", ending="failed", why=str(error), error=parts)
        except MISTAKES as error:
            self._forget_base()
            trace = self._folder.inside(TRACE_FILE)
            trace.write_text("".join(traceback.format_exception(error)))
            return Report("end", ending="failed", why=f"{type(error).__name__}: {error}; traceback in {trace}")
        finally:
            if self._leads:
                self._live_file.unlink(missing_ok=True)

    def _measured(self) -> tuple[Rung, AnyBase]:
        if self._base is None or self._base.why_not(self._job) is not None:
            self._forget_base()
            self._base = self._loaded_by_all()
        stop_step = self._task.stop_steps[self._next]
        if self._trunk is None:
            parked = self._waiting.take(self._task.trial) if self._task.seed is None else None
            self._trunk = self._base.start(
                self._job,
                warmup_steps=self._task.warmup_steps,
                parked=parked,
                passing=self._task.passing,
                stable=self._task.stable,
            )
        self._next += 1
        return self._trunk.to_rung(stop_step, progress=self._reached), self._base

    def _loaded_by_all(self) -> AnyBase:
        """The base, when every worker of the trial has loaded it: else the others would wait for one that has not."""
        world = World.of_group("cuda" if self._place.gpus > 0 else "cpu")
        try:
            base = self._load(self._job, self._task.largest_rank, self._place)
        except (RunnerError, torch.OutOfMemoryError):
            world.count(True)
            raise
        if failed := world.count(False):
            raise DoesNotFit(
                f"{failed} of the {world.size} workers of the trial could not load the base",
                f"rank {self._task.largest_rank}",
                "see what else runs on their machines",
            )
        return base

    def _forget_base(self) -> None:
        """Give back what the base holds; after an error it may be half of something."""
        self._base = self._trunk = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _reached(self, step: int) -> None:
        """Tell the step, and look whether to stop."""
        now = time.monotonic()
        if now - self._looked < STOP_LOOK_S:
            return
        self._looked = now
        if not self._leads:
            return
        if Path(self._place.stop_file).exists():
            raise Stopped("a stop was asked for", self._place.folder)
        self._live_file.parent.mkdir(exist_ok=True)
        self._live_file.write_text(str(step))

    @property
    def _live_file(self) -> Path:
        return self._folder.inside(LIVE, self._task.name)


def load_resident(job: Job, largest_rank: int, place: Place) -> AnyBase:
    """The real base, on the GPU part or the CPU threads of ``place``."""
    from runner.search.resident import ResidentBase

    torch.set_num_threads(place.threads)
    hold_to_share(place)
    world = World.of_group("cuda" if place.gpus > 0 else "cpu")
    return ResidentBase(job, largest_rank=largest_rank, world=world, cache=Path(place.cache))


def hold_to_share(place: Place) -> None:
    """Limit this process's GPU memory to its part of the card; a CPU's is not limited."""
    if place.gpus <= 0:
        return
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    allowed = min(place.gpu_memory_gib or total, total) * min(place.gpus, 1.0)
    limit_memory(torch.device("cuda", 0), allowed)


def report_of(plain: Mapping[str, Any]) -> Report:
    """The report that was sent as a plain mapping."""
    error = plain["error"]
    return Report(
        **{
            **plain,
            "question_tokens": tuple(plain["question_tokens"]),
            "error": None if error is None else tuple(error),
        }
    )

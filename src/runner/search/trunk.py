"""One trial: a trunk of steps that all its stop steps share, left at each of them by a branch that ends there.

The run that ends at step S is the trunk up to its decay and then the decay; data follow from (seed, step) alone.  So a
branch gives what that run would give.  What stays loaded from trial to trial is ``resident``'s.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from runner.config.job import Job, Train
from runner.data import PackedSplit
from runner.errors import Diverged, UserError
from runner.search.held_out import HeldOut
from runner.search.padded import PaddedAdapters
from runner.search.points import Parked, Point, Snapshot
from runner.search.records import Measured, Rung
from runner.train.batches import Batches, StepBatch
from runner.train.clock import peak_gib
from runner.train.loop import NON_FINITE_LIMIT
from runner.train.optimizer import FlatAdamW
from runner.train.readback import Readback
from runner.train.records import diverged
from runner.train.schedule import full_horizon, learning_rate, warmup_steps
from runner.train.step import losses_of, train_step
from runner.train.world import World

PROGRESS_S = 0.5  # between two calls of a trial's ``progress``, seconds
POINTS_ROOM = 2 * 2**30  # bytes of the points that a trunk keeps on its way; the first to come are kept


@dataclass(frozen=True)
class Loaded:
    """What trials use one after the other; none of it is made again."""

    split: PackedSplit  # to train on
    model: nn.Module
    optimizer: FlatAdamW
    adapters: PaddedAdapters
    held_out: HeldOut
    snapshot: Snapshot
    tip: Tensor  # on the host: the weights that the last branch ended with
    world: World


@dataclass(frozen=True)
class _Pending:
    """A step whose record has not been read from the device."""

    batch: StepBatch
    record: Readback


@dataclass
class _Position:
    """How far training is."""

    step: int = 0
    non_finite: int = 0  # steps in a row
    pending: list[_Pending] = field(default_factory=list)


def train_until(train: Train, stop_step: int, *, warmup_steps: int) -> Train:
    """``train`` of the run that ends at ``stop_step`` after a warm-up of ``warmup_steps``, whatever its own part was.

    Raises ``UserError`` when warm-up and decay do not both fit.
    """
    changed = train.model_copy(update={"steps": stop_step, "warmup": warmup_steps / stop_step})
    overlap = train.schedule == "warmup-stable-decay" and changed.warmup + changed.decay > 1.0
    if overlap or not 0 <= warmup_steps <= last_shared_step(changed) or warmup_steps >= stop_step:
        raise UserError(
            f"a warm-up of {warmup_steps} steps and a decay of {train.decay:.0%} do not fit into {stop_step} steps",
            "the smallest stop step of the search",
            "lower train.warmup or train.decay, or leave out that stop step",
        )
    return changed


def last_shared_step(train: Train) -> int:
    """The last step whose rate does not depend on where the run ends: a branch to ``train.steps`` leaves there."""
    return warmup_steps(train) if train.schedule == "cosine" else full_horizon(train).decay_start


class Trunk:
    """A trial of ``job`` on a loaded base.  It ends when another is started there, or with its first error."""

    def __init__(
        self,
        loaded: Loaded,
        job: Job,
        *,
        rows: int,
        warmup_steps: int,
        parked: Parked | None = None,
        passing: Sequence[int] = (),
        stable: Sequence[int] = (),
    ) -> None:
        """``rows`` are the buffers of a forward pass; adapters and optimizer are as new.

        Steps that lie before a point of ``parked`` are not trained again.  Where branches to the stop steps ``passing``
        would leave, a point is kept, so that they can be measured later at the cost of the branch alone.  At the stop
        steps ``stable`` that it comes by, the trunk itself is measured: a decay does not pay everywhere.
        """
        started = time.perf_counter()
        assert job.lora is not None, "a trial trains an adapter"
        self._loaded, self._job, self._warmup_steps = loaded, job, warmup_steps
        world = loaded.world
        self._batches = Batches(
            loaded.split,
            buffers_per_step=job.buffers_per_step,
            rows=rows,
            seed=job.train.seed,
            rank=world.rank,
            ranks=world.size,
            device=world.device,
        )
        if world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(world.device)
        loaded.adapters.start(job.lora, seed=job.train.seed)
        loaded.optimizer.start_again(job.train)
        self._number = loaded.adapters.starts
        self._at = _Position()
        self._stop_step = 0
        self._points = {point.step: point for point in (parked.points if parked is not None else ())}
        self._leaving = {last_shared_step(self._until(stop_step)) for stop_step in passing}
        self._stable = set(stable) if job.train.schedule == "warmup-stable-decay" else set[int]()
        self._on_the_way: list[Measured] = []  # at stable stop steps, since the last rung
        self._usable = True
        self._measured_rungs = 0
        self._steps_trained = 0
        self._shown = started
        self._seconds = time.perf_counter() - started

    def to_rung(self, stop_step: int, progress: Callable[[int], None] | None = None) -> Rung:
        """What the run that ends at ``stop_step`` would give; the next call must name a later one.

        ``progress`` gets the step reached, twice a second at most.  Raises ``Diverged`` after ``NON_FINITE_LIMIT``
        steps in a row without a finite loss or gradient, or when the held-out loss is not finite, and ``UserError``
        when warm-up and decay do not fit into ``stop_step``.
        """
        started = time.perf_counter()
        self._assert_mine()
        assert stop_step > self._stop_step, f"stop step {stop_step} after {self._stop_step}"
        train = self._until(stop_step)
        self._usable = False  # until the trunk stands whole again
        self._stop_step = stop_step
        self._to_leave(train, progress)
        trunk, loaded = self._at, self._loaded
        loaded.snapshot.take()
        self._at = _Position(trunk.step, trunk.non_finite)
        self._advance(train, stop_step, progress)
        rung = self._rung(stop_step, started)
        loaded.tip.copy_(loaded.optimizer.weights.master)
        self._measured_rungs += 1
        loaded.snapshot.put_back()
        loaded.optimizer.weights.publish()
        self._at, self._usable = trunk, True
        return rung

    def park(self) -> Parked:
        """The trial as it stands after its last rung, with the points that it has kept before, for a later trunk."""
        self._assert_mine()
        assert self._measured_rungs, "no rung has been trained to its end"
        before = [self._points[step] for step in sorted(self._points) if step < self._at.step]
        return Parked((*before, Point(self._at.step, self._at.non_finite, self._loaded.snapshot.on_host())))

    def save_adapter(self, directory: Path) -> None:
        """Write the adapter that the last rung's branch ended with, cut to its rank, as PEFT files."""
        assert self._measured_rungs, "no rung has been trained to its end"
        assert self._number == self._loaded.adapters.starts, "another trial was started on this base"
        self._loaded.adapters.save(self._loaded.tip, directory, base_id=self._job.model.id)

    def _until(self, stop_step: int) -> Train:
        return train_until(self._job.train, stop_step, warmup_steps=self._warmup_steps)

    def _to_leave(self, train: Train, progress: Callable[[int], None] | None) -> None:
        """Bring the trunk to where the branch to ``train.steps`` leaves, from the last point before it."""
        leave, loaded = last_shared_step(train), self._loaded
        nearest = max((step for step in self._points if self._at.step < step <= leave), default=None)
        if nearest is not None:
            point = self._points[nearest]
            loaded.snapshot.fill(point.state)
            loaded.snapshot.put_back()
            loaded.optimizer.weights.publish()
            self._at = _Position(point.step, point.non_finite)
        for step in sorted(step for step in self._leaving | self._stable if self._at.step < step <= leave):
            self._advance(train, step, progress)
            if step in self._stable and math.isfinite((measured := self._measured(step)).loss):
                self._on_the_way.append(measured)
            if step in self._leaving and step < leave:
                self._keep_point(step)
        self._advance(train, leave, progress)

    def _keep_point(self, step: int) -> None:
        """Let the trunk be put back to here, if there is room."""
        loaded = self._loaded
        if sum(point.nbytes for point in self._points.values()) + loaded.snapshot.nbytes <= POINTS_ROOM:
            loaded.snapshot.take()
            self._points[step] = Point(step, self._at.non_finite, loaded.snapshot.on_host())

    def _assert_mine(self) -> None:
        assert self._number == self._loaded.adapters.starts, "another trial was started on this base"
        assert self._usable, "the trial ended with an error"

    def _advance(self, train: Train, last: int, progress: Callable[[int], None] | None) -> None:
        """Train on to step ``last``; every record is read on return."""
        loaded, horizon, at = self._loaded, full_horizon(train), self._at
        assert at.step <= last, f"the trunk is at step {at.step}, which no branch can leave at {last}"
        while at.step < last:
            at.step += 1
            batch = self._batches.of_step(at.step)
            rate = learning_rate(train, horizon, at.step)
            record = train_step(
                loaded.model, loaded.optimizer, batch, loaded.world, rate=rate, seed=train.seed, stop=False
            )
            at.pending.append(_Pending(batch, Readback(record)))
            self._steps_trained += 1
            self._read(keeping=1)
            if progress is not None and time.perf_counter() - self._shown > PROGRESS_S:
                self._shown = time.perf_counter()
                progress(at.step)
        self._read(keeping=0)

    def _read(self, *, keeping: int) -> None:
        """Read all records but the newest ``keeping``: the device is at work on that step meanwhile."""
        at = self._at
        while len(at.pending) > keeping:
            done = at.pending.pop(0)
            values = done.record.values()
            finite = math.isfinite(losses_of(values).loss) and math.isfinite(values[-2])
            at.non_finite = 0 if finite else at.non_finite + 1
            if at.non_finite >= NON_FINITE_LIMIT:
                raise diverged(self._loaded.split, self._job.train.learning_rate, done.batch, NON_FINITE_LIMIT)

    def _measured(self, step: int) -> Measured:
        """The held-out losses now, after ``step``."""
        found = self._loaded.held_out.measure(self._loaded.model)
        return Measured(step, found.losses.loss, found.losses.think_loss, found.losses.answer_loss, found.question_sums)

    def _rung(self, stop_step: int, started: float) -> Rung:
        """The held-out losses at the end of a branch, and what they took since ``started``."""
        measured = self._measured(stop_step)
        if not math.isfinite(measured.loss):
            raise Diverged(
                f"the held-out loss is {measured.loss} after step {stop_step}",
                f"rank {self._loaded.adapters.rank}, train.learning_rate {self._job.train.learning_rate}",
                "lower train.learning_rate",
            )
        self._seconds += time.perf_counter() - started
        stable, self._on_the_way = tuple(self._on_the_way), []
        return Rung(
            **vars(measured),
            trained_tokens=self._steps_trained * self._job.train.tokens_per_step,
            seconds=self._seconds,
            peak_gib=peak_gib(self._loaded.world.device),
            stable=stable,
        )

"""A few real steps of a job, to tell how long all of it will take and how much memory the steps need.

Nothing is kept: the run's folder is a temporary one.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from runner.config.job import Job
from runner.evaluation.passes import count_passes
from runner.plan.plan import Timing
from runner.runs import RunFolder
from runner.train.assembly import Run, assemble, batches_of
from runner.train.batches import in_order, passes_over
from runner.train.clock import peak_gib
from runner.train.passes import COUNTS, counted_questions, why_not_executed
from runner.train.reporter import SilentReporter
from runner.train.step import summed_losses, train_step
from runner.train.world import World

WARM_UP = 3  # steps that compile, allocate and fill caches
MEASURED = 8
VALIDATION_PASSES = 4
QUESTIONS = 64  # answered together in one batch


@dataclass(frozen=True)
class Lone(World):
    """The first of ``size`` ranks, the others of which are not there: what it holds counts as what all have."""

    def sum(self, tensor: Tensor) -> Tensor:
        """``tensor`` itself."""
        return tensor

    def least(self, number: int) -> int:
        """``number`` itself."""
        return number


def probe(job: Job, *, ranks: int, threads: int, cache: Path, imports_s: float) -> Timing:
    """Medians of ``MEASURED`` steps of ``job`` on this process's device, after ``WARM_UP`` that are not counted.

    Of ``ranks`` workers the first one's share, with its CPU ``threads``; nothing is summed over workers.
    ``imports_s`` is handed on.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory, computing_with(threads):
        world = Lone(0, ranks) if ranks > 1 else World()
        run = assemble(job, RunFolder(Path(directory).resolve()), world, SilentReporter(), cache=cache)
        seconds = [_step_seconds(run, 1)]
        start_s = time.perf_counter() - started
        seconds += [_step_seconds(run, step) for step in range(2, WARM_UP + MEASURED + 1)]
        validation_s, peak = _validation_seconds(run), peak_gib(run.world.device)
        counted = _counted(run)
        return Timing(
            step_s=statistics.median(seconds[WARM_UP:]),
            validation_s=validation_s,
            imports_s=imports_s,
            start_s=start_s,
            counts=COUNTS if counted else 0,
            count_s=_count_seconds(run, counted),
            steps=len(seconds),
            peak_gib=peak,
        )


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """While it lasts, this process computes with so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _step_seconds(run: Run, step: int) -> float:
    started = time.perf_counter()
    batch = batches_of(run).of_step(step)
    train_step(run.engine, run.optimizer, batch, run.world, rate=0.0, seed=run.job.train.seed, stop=False).tolist()
    return time.perf_counter() - started


def _validation_seconds(run: Run) -> float:
    """Seconds of a whole validation, from its first passes."""
    rows, split, world = run.settings.micro_batch, run.data.validation, run.world
    passes = passes_over(len(split), world.size, rows)
    batches = in_order(split, rows=rows, rank=world.rank, ranks=world.size, device=world.device)
    times = []
    for _, batch in zip(range(VALIDATION_PASSES), batches, strict=False):
        started = time.perf_counter()
        summed_losses(run.engine, [batch], run.world.device).tolist()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * passes


def _counted(run: Run) -> tuple[str, ...]:
    """The questions that training would count as solved or not; none where it may not execute the programs."""
    return () if why_not_executed(run.job) is not None else counted_questions(run.data, run.job)


def _count_seconds(run: Run, ids: tuple[str, ...]) -> float:
    """Seconds of one count of the solved questions, from their first batch; a tuned model's answers may be longer."""
    if not ids:
        return 0.0
    asked = ids[:QUESTIONS]
    started = time.perf_counter()
    count_passes(run.model, run.encoder, asked, max_new_tokens=run.job.evaluation.max_new_tokens)
    return (time.perf_counter() - started) * len(ids) / len(asked)

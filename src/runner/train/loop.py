"""The main job: from a job file's values to a tuned adapter, read downwards.

It knows nothing of Ray, screens or the command line; everything it does outside the device goes to the
run's folder and to ``reporter``.
"""

import math
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from runner.config.job import Job
from runner.runs import RunFolder
from runner.train.assembly import Run, assemble, batches_of
from runner.train.batches import StepBatch
from runner.train.clock import COUNTS_S, VALIDATION_S
from runner.train.halving import with_equal_passes, with_smaller_passes
from runner.train.memory import forget_failed_pass, is_out_of_memory
from runner.train.passes import record_passes
from runner.train.readback import Readback
from runner.train.records import diverged, plateau_record, rows_of, step_record, tell_environment, tell_startup
from runner.train.reporter import Reporter
from runner.train.result import Ending, Result
from runner.train.schedule import Measured, has_plateaued, learning_rate, shortened, warmup_steps
from runner.train.state import Passes, Progress, read_state, write_state, write_weights
from runner.train.step import Losses, losses_of, train_step, validation_losses
from runner.train.stopping import CutShort
from runner.train.watchdog import Watchdog, last_hang
from runner.train.world import World

NON_FINITE_LIMIT = 3  # steps in a row without a finite loss or gradient after which training ends


def train(job: Job, folder: RunFolder, world: World, reporter: Reporter, *, cache: Path) -> Result:
    """Train ``job`` into ``folder``, going on from its newest valid checkpoint when there is one.

    Stopped anywhere and called again, it gives the losses and weights of a run that never stopped, bit for bit
    on a CPU with the same number of threads.  Raises ``Diverged`` after ``NON_FINITE_LIMIT`` steps in a row
    without a finite loss or gradient; such a step never moves a weight.
    """
    run = assemble(job, folder, world, reporter, cache=cache)
    resumed = _resumed(run)
    run, progress = begin(run, Progress.fresh(job, run.data.fingerprint)) if resumed is None else (run, resumed)
    if not progress.step and _owes_validation(run, progress):
        return _result(run, progress, "stopped")
    if world.leads:
        tell_environment(run, progress.step)
    progress, ending = run_steps(run, progress)
    if ending != "stopped":
        _publish(run, "final", progress)
        ending = ending if _counted(run, progress) else "stopped"
    return _result(run, progress, ending)


def _result(run: Run, progress: Progress, ending: Ending) -> Result:
    last = progress.validations[-1] if progress.validations else None
    return Result(ending, progress.step, progress.best, last, progress.plateau_step, run.folder.root)


def _resumed(run: Run) -> Progress | None:
    """The progress of the newest valid checkpoint, its tensors in place; rank 0 chooses for all."""
    step, skipped = run.saves.newest()
    step = run.world.from_lead(step)
    run.reporter.resumed(step)
    for line in skipped:
        run.reporter.record({"kind": "event", "step": max(step, 0), "text": line})
    if step < 0:
        return None
    run.saves.check_base(step)
    progress = read_state(run.saves.path(step), run.model, run.optimizer, run.data.fingerprint)
    together = f", {run.world.size} workers" if run.world.size > 1 else ""
    text = f"resumed after step {step}{together}"
    run.reporter.record({"kind": "event", "step": step, "name": "resumed", "text": text})
    if run.world.leads and (told := last_hang(run.folder)) is not None:
        run.reporter.record({"kind": "event", "step": step, "name": "hang", "text": told})
    run.watch.lap("resume_s")
    return progress


def begin(run: Run, progress: Progress) -> tuple[Run, Progress]:
    """Before the first step: how good the untouched base is; with what the steps are taken.

    Where a request to stop cuts it short the progress comes back as it was.
    """
    return _validated(run, progress) if _counted(run, progress) else (run, progress)


def _counted(run: Run, progress: Progress) -> bool:
    """Record how many questions are solved now; False if a request to stop cut it short."""
    whole = record_passes(run.model, run.encoder, run.data, run.job, run.world, run.reporter, step=progress.step)
    run.watch.lap(COUNTS_S)
    return whole


def run_steps(run: Run, progress: Progress) -> tuple[Progress, Ending]:
    """All steps to the horizon, or to a request to stop; the last checkpoint is durable on return."""
    tell_startup(run, progress.step)
    with closing(Watchdog(run.folder, run.world.rank)) as watchdog:
        return _stepped(run, progress, watchdog)


def _stepped(run: Run, progress: Progress, watchdog: Watchdog) -> tuple[Progress, Ending]:
    job, pending = run.job, list[_Pending]()
    ends_at_once = run.world.device.type == "cpu"  # a step, when the call that takes it returns
    if progress.step and _owes_validation(run, progress):  # the stop that this run goes on from cut it short
        run, progress = _validated(run, progress)
        if _owes_validation(run, progress):
            return progress, "stopped"
        progress = _replanned(run, progress)
    while progress.step < progress.horizon.end:
        watchdog.step()
        step = progress.step + 1
        rate = learning_rate(job.train, progress.horizon, step)
        stop = run.reporter.stop_requested()
        run, taken = _taken(run, step, rate=rate, stop=stop)
        progress = replace(progress, step=step, tokens=progress.tokens + job.train.tokens_per_step)
        pending.append(taken)
        validating = _owes_validation(run, progress)
        saving = step % job.checkpoint.every == 0 or step == progress.horizon.end
        progress, stopping = _noted(run, progress, pending, everything=ends_at_once or validating or saving)
        if stopping:
            progress, _ = _noted(run, progress, pending, everything=True)
        if validating or saving or stopping:
            watchdog.rest()
            run = with_equal_passes(run, step)
        if validating:
            run, progress = _validated(run, progress)
            progress = _replanned(run, progress)
        cut_short = _owes_validation(run, progress)
        if saving or stopping or cut_short:
            _save(run, progress)
        if cut_short or (stopping and progress.step < progress.horizon.end):
            return progress, "stopped"
    return progress, "finished" if progress.plateau_step is None else "plateau"


@dataclass(frozen=True)
class _Pending:
    """A step whose record has not been read from the device."""

    step: int
    rate: float
    record: Readback
    batch: StepBatch
    data_s: float


def _taken(run: Run, step: int, *, rate: float, stop: bool) -> tuple[Run, _Pending]:
    """One step, in smaller passes where there is no memory; and with what the next steps are taken."""
    while True:
        batches = batches_of(run)
        batch = batches.of_step(step)
        try:
            seed = run.job.train.seed
            record = train_step(run.engine, run.optimizer, batch, run.world, rate=rate, seed=seed, stop=stop)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            run = with_smaller_passes(run, step, f"step {step}", error, ids=rows_of(run.data.train, batch))
        else:
            return run, _Pending(step, rate, Readback(record), batch, batches.spent.take())
        forget_failed_pass()


def _noted(run: Run, progress: Progress, pending: list[_Pending], *, everything: bool) -> tuple[Progress, bool]:
    """Read records from the device, all but the newest unless ``everything``; says whether a stop was asked for.

    On a GPU the newest step is left running while the one before it is read, so nothing waits.
    """
    reading = [pending.pop(0) for _ in range(len(pending) - (0 if everything else 1))]
    values = [done.record.values() for done in reading]
    seconds = run.watch.lap("step_s") / max(len(reading), 1)
    for done, read in zip(reading, values, strict=True):
        losses, norm = losses_of(read), read[-2]
        record = step_record(run, done.step, losses, rate=done.rate, norm=norm, seconds=seconds, data_s=done.data_s)
        run.reporter.record(record)
        finite = math.isfinite(losses.loss) and math.isfinite(norm)
        progress = replace(progress, non_finite=0 if finite else progress.non_finite + 1)
        if progress.non_finite >= NON_FINITE_LIMIT:
            raise diverged(run.data.train, run.job.train.learning_rate, done.batch, NON_FINITE_LIMIT)
    return progress, any(read[-1] > 0 for read in values)


def _owes_validation(run: Run, progress: Progress) -> bool:
    """Whether the held-out loss is wanted after the steps so far, and has not been measured."""
    step = progress.step
    wanted = step % run.job.validation.every == 0 or step == progress.horizon.end
    return wanted and all(measured.step != step for measured in progress.validations[-1:])


def _validated(run: Run, progress: Progress) -> tuple[Run, Progress]:
    """Measure the held-out loss, in smaller passes where there is no memory; a new best is published at once.

    Where a request to stop cuts it short, nothing is told and the validation stays owed.
    """
    run, losses = _held_out(run, progress.step)
    if losses is None:
        return run, progress
    seconds = run.watch.lap(VALIDATION_S)
    run.reporter.record({"kind": "validation", "step": progress.step, **asdict(losses), "seconds": seconds})
    progress = progress.measured(Measured(progress.step, losses.loss))
    if progress.step and progress.best == progress.validations[-1]:
        _publish(run, "best", progress)
    return run, progress


def _held_out(run: Run, step: int) -> tuple[Run, Losses | None]:
    """The held-out losses, None if a request to stop cut them short; and with what the next steps are taken."""
    held_out, asked = run.data.validation, run.reporter.stop_requested
    while True:
        try:
            rows = run.settings.micro_batch
            return run, validation_losses(run.engine, held_out, run.world, rows=rows, asked=asked)
        except CutShort:
            return run, None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            run = with_smaller_passes(run, step, f"the validation after step {step}", error)
        forget_failed_pass()


def _replanned(run: Run, progress: Progress) -> Progress:
    """The horizon, brought forward when the plateau rule fires in the stable phase."""
    rule, step, horizon = run.job.stop.plateau, progress.step, progress.horizon
    if rule is None or progress.plateau_step is not None or step >= horizon.decay_start:
        return progress
    if not has_plateaued(progress.validations, rule, stable_from=warmup_steps(run.job.train)):
        return progress
    sooner = shortened(run.job.train, horizon, step)
    run.reporter.record(plateau_record(rule, step, sooner, horizon))
    return replace(progress, horizon=sooner, plateau_step=step)


def _save(run: Run, progress: Progress) -> None:
    """Make a durable checkpoint of everything; only rank 0 writes."""
    whole = run.optimizer.whole_state()
    passes = Passes(run.world.device.type, run.world.size, run.settings.micro_batch)
    with run.saves.checkpoint(progress.step) as directory:
        if directory is not None:
            write_state(directory, replace(progress, passes=passes), run.model, whole, run.job.model.id)
    best = progress.best.loss if progress.best else None
    run.reporter.saved(progress.step, run.saves.path(progress.step), best)
    run.watch.lap("checkpoint_s")


def _publish(run: Run, name: Literal["best", "final"], progress: Progress) -> None:
    """Replace the run's ``best`` or ``final`` weights by those of now; only rank 0 writes."""
    weights = run.optimizer.whole_weights()
    with run.saves.weights(name, progress.step) as directory:
        if directory is not None:
            write_weights(directory, run.model, weights, run.job.model.id)

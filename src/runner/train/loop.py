"""The main job: from a job file's values to a tuned adapter, read downwards.

It knows nothing of Ray, screens or the command line; everything it does outside the device goes to the
run's folder and to ``reporter``.
"""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from runner.config.job import Job
from runner.config.load import job_hash
from runner.data import PreparedData, prepare
from runner.errors import Diverged
from runner.model.adapter import causal_lm
from runner.model.base import check_vocabulary, load_config
from runner.model.tokenizer import Encoder, load_encoder
from runner.plan.device import present_device
from runner.plan.geometry import read_geometry
from runner.plan.settings import Settings, settle
from runner.runs import JSON, RunFolder, describe, record_environment
from runner.train.batches import Batches, StepBatch
from runner.train.clock import Stopwatch, peak_gib
from runner.train.optimizer import FlatAdamW
from runner.train.passes import record_passes
from runner.train.reporter import Reporter
from runner.train.result import Ending, Result
from runner.train.saving import Saves
from runner.train.schedule import Measured, has_plateaued, learning_rate, shortened, warmup_steps
from runner.train.setup import build_model
from runner.train.state import Progress, read_state, write_state, write_weights
from runner.train.step import Losses, losses_of, train_step, validation_losses
from runner.train.weights import FlatWeights
from runner.train.world import World

STATE_BYTES = 12  # a trainable weight in a checkpoint: itself and two moments, float32 each
NON_FINITE_LIMIT = 3  # steps in a row without a finite loss or gradient after which training ends


@dataclass(frozen=True)
class Run:
    """Everything that stays the same from the first step to the last."""

    job: Job
    folder: RunFolder
    world: World
    reporter: Reporter
    encoder: Encoder
    data: PreparedData
    settings: Settings
    model: nn.Module
    optimizer: FlatAdamW
    saves: Saves
    watch: Stopwatch


def train(job: Job, folder: RunFolder, world: World, reporter: Reporter, *, cache: Path) -> Result:
    """Train ``job`` into ``folder``, going on from its newest valid checkpoint when there is one.

    Stopped anywhere and called again, it gives the losses and weights of a run that never stopped, bit for bit
    on a CPU with the same number of threads.  Raises ``Diverged`` after ``NON_FINITE_LIMIT`` steps in a row
    without a finite loss or gradient; such a step never moves a weight.
    """
    run = assemble(job, folder, world, reporter, cache=cache)
    progress = _resumed(run) or _begun(run, Progress.fresh(job, run.data.fingerprint))
    _tell_environment(run, progress)
    progress, ending = _stepped(run, progress)
    if ending != "stopped":
        _publish(run, "final", progress)
        record_passes(run.model, run.encoder, run.data, run.job, run.world, run.reporter, step=progress.step)
    last = progress.validations[-1] if progress.validations else None
    return Result(ending, progress.step, progress.best, last, progress.plateau_step, folder.root)


def assemble(job: Job, folder: RunFolder, world: World, reporter: Reporter, *, cache: Path) -> Run:
    """Tokenizer, data, model and optimizer, each timed; nothing has been trained yet."""
    watch = Stopwatch()
    encoder = load_encoder(job.model)
    check_vocabulary(load_config(job.model), encoder.vocabulary, job.model.id)
    data = prepare(job.data, encoder, cache=cache)
    watch.lap("data_s")
    settings = settle(job, read_geometry(job), present_device(), ranks=world.size)
    model = build_model(job, settings, world.device)
    optimizer = FlatAdamW(FlatWeights(model), job.train)
    watch.lap("model_s")
    saves = Saves.begin(folder, world, keep=job.checkpoint.keep, stamp={"job": job_hash(job)})
    saves.preflight(STATE_BYTES * optimizer.weights.count)
    return Run(job, folder, world, reporter, encoder, data, settings, model, optimizer, saves, watch)


def batches_of(run: Run) -> Batches:
    """The training batches as this rank sees them."""
    return Batches(
        run.data.train,
        buffers_per_step=run.job.buffers_per_step,
        rows=run.settings.micro_batch,
        seed=run.job.train.seed,
        rank=run.world.rank,
        ranks=run.world.size,
        device=run.world.device,
    )


def _resumed(run: Run) -> Progress | None:
    """The progress of the newest valid checkpoint, its tensors in place; rank 0 chooses for all."""
    step, skipped = run.saves.newest()
    step = run.world.from_lead(step)
    run.reporter.resumed(step)
    for line in skipped:
        run.reporter.record({"kind": "event", "step": max(step, 0), "text": line})
    if step < 0:
        return None
    progress = read_state(run.saves.path(step), run.model, run.optimizer, run.data.fingerprint)
    run.reporter.record({"kind": "event", "step": step, "name": "resumed", "text": f"resumed after step {step}"})
    run.watch.lap("resume_s")
    return progress


def _begun(run: Run, progress: Progress) -> Progress:
    """Before the first step: how good the untouched base is."""
    record_passes(run.model, run.encoder, run.data, run.job, run.world, run.reporter, step=0)
    return _validated(run, progress)


def _stepped(run: Run, progress: Progress) -> tuple[Progress, Ending]:
    """All steps to the horizon, or to a request to stop; the last checkpoint is durable on return."""
    job, pending = run.job, list[_Pending]()
    batches = batches_of(run)
    _tell_startup(run, progress)
    while progress.step < progress.horizon.end:
        step = progress.step + 1
        batch = batches.of_step(step)
        rate = learning_rate(job.train, progress.horizon, step)
        stop = run.reporter.stop_requested()
        record = train_step(run.model, run.optimizer, batch, run.world, rate=rate, seed=job.train.seed, stop=stop)
        progress = replace(progress, step=step, tokens=progress.tokens + job.train.tokens_per_step)
        pending.append(_Pending(step, rate, record, batch))
        validating = step % job.validation.every == 0 or step == progress.horizon.end
        saving = step % job.checkpoint.every == 0 or step == progress.horizon.end
        progress, stopping = _noted(run, progress, pending, everything=validating or saving)
        if stopping:
            progress, _ = _noted(run, progress, pending, everything=True)
        if validating:
            progress = _replanned(run, _validated(run, progress))
        if saving or stopping:
            _save(run, progress)
        if stopping and progress.step < progress.horizon.end:
            return progress, "stopped"
    return progress, "finished" if progress.plateau_step is None else "plateau"


def _tell_environment(run: Run, progress: Progress) -> None:
    """Keep what the run is trained on in environment.json; tell what changed since it was started before."""
    if not run.world.leads:
        return
    config: Any = causal_lm(run.model).config
    model = getattr(config, "_commit_hash", None) or run.job.model.id
    fingerprints = {"data": run.data.fingerprint, "model": str(model), "tokenizer": run.encoder.fingerprint}
    environment = describe(devices=[run.world.device_name], fingerprints=fingerprints)
    for change in record_environment(run.folder.environment_file, environment):
        text = f"since the run was started, {change}"
        run.reporter.record({"kind": "event", "step": progress.step, "name": "environment", "text": text})


def _tell_startup(run: Run, progress: Progress) -> None:
    """Where the time went from the start of this process's work to the first step."""
    run.watch.lap("first_measurements_s")
    laps = {name: seconds for name, seconds in run.watch.laps.items() if name != "validation_s"}
    run.reporter.record({"kind": "startup", "step": progress.step, **laps})


@dataclass(frozen=True)
class _Pending:
    """A step whose record has not been read from the device."""

    step: int
    rate: float
    record: Tensor
    batch: StepBatch


def _noted(run: Run, progress: Progress, pending: list[_Pending], *, everything: bool) -> tuple[Progress, bool]:
    """Read records from the device, all but the newest unless ``everything``; says whether a stop was asked for.

    The newest step is left running on the device while the one before it is read, so nothing waits.
    """
    reading = [pending.pop(0) for _ in range(len(pending) - (0 if everything else 1))]
    values = [done.record.tolist() for done in reading]
    seconds = run.watch.lap("step_s") / max(len(reading), 1)
    for done, read in zip(reading, values, strict=True):
        losses, norm = losses_of(read), read[-2]
        run.reporter.record(_train_record(run, done, losses, norm, seconds))
        finite = math.isfinite(losses.loss) and math.isfinite(norm)
        progress = replace(progress, non_finite=0 if finite else progress.non_finite + 1)
        if progress.non_finite >= NON_FINITE_LIMIT:
            raise _diverged(run, done)
    return progress, any(read[-1] > 0 for read in values)


def _train_record(run: Run, done: _Pending, losses: Losses, norm: float, seconds: float) -> dict[str, JSON]:
    tokens = run.job.train.tokens_per_step
    return {
        "kind": "train",
        "step": done.step,
        **asdict(losses),
        "learning_rate": done.rate,
        "grad_norm": norm,
        "tokens": done.step * tokens,
        "tokens_per_s": round(tokens / max(seconds, 1e-9), 1),
        "seconds": round(seconds, 4),
        "peak_gib": _peak(run),
    }


def _peak(run: Run) -> float:
    return round(peak_gib(run.world.device), 3)


def _diverged(run: Run, done: _Pending) -> Diverged:
    ids = [name for index in done.batch.packs[:4] for name in run.data.train.document_ids(index)][:8]
    return Diverged(
        f"the loss or its gradient was not finite in {NON_FINITE_LIMIT} steps in a row, the last at step {done.step}",
        f"rows {', '.join(ids)} and others of that step",
        f"lower train.learning_rate (now {run.job.train.learning_rate}); no such step moved a weight",
    )


def _validated(run: Run, progress: Progress) -> Progress:
    """Measure the held-out loss; a new best is published at once."""
    losses = validation_losses(run.model, run.data.validation, run.world, rows=run.settings.micro_batch)
    seconds = run.watch.lap("validation_s")
    run.reporter.record({"kind": "validation", "step": progress.step, **asdict(losses), "seconds": seconds})
    progress = progress.measured(Measured(progress.step, losses.loss))
    if progress.step and progress.best == progress.validations[-1]:
        _publish(run, "best", progress)
    return progress


def _replanned(run: Run, progress: Progress) -> Progress:
    """The horizon, brought forward when the plateau rule fires in the stable phase."""
    rule, step, horizon = run.job.stop.plateau, progress.step, progress.horizon
    if rule is None or progress.plateau_step is not None or step >= horizon.decay_start:
        return progress
    if not has_plateaued(progress.validations, rule, stable_from=warmup_steps(run.job.train)):
        return progress
    sooner = shortened(run.job.train, horizon, step)
    spared = 1.0 - sooner.end / horizon.end
    run.reporter.record(
        {
            "kind": "event",
            "name": "plateau",
            "step": step,
            "end": sooner.end,
            "text": f"plateau: {rule.window} steps gained under {rule.improvement}; the decay runs from step {step} "
            f"to {sooner.end}, which spares {spared:.0%} of {horizon.end:,} steps",
        }
    )
    return replace(progress, horizon=sooner, plateau_step=step)


def _save(run: Run, progress: Progress) -> None:
    """Make a durable checkpoint of everything; only rank 0 writes."""
    with run.saves.checkpoint(progress.step) as directory:
        if directory is not None:
            write_state(directory, progress, run.model, run.optimizer, run.job.model.id)
    best = progress.best.loss if progress.best else None
    run.reporter.saved(progress.step, run.saves.path(progress.step), best)
    run.watch.lap("checkpoint_s")


def _publish(run: Run, name: Literal["best", "final"], progress: Progress) -> None:
    """Replace the run's ``best`` or ``final`` weights by those of now; only rank 0 writes."""
    with run.saves.weights(name, progress.step) as directory:
        if directory is not None:
            write_weights(directory, run.model, run.optimizer.weights, run.job.model.id)

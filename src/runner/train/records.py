"""What the loop tells of a run, as records: steps, start-up, environment, plateau, and the error of a divergence.

When they are told is ``loop``'s; where they go, the reporter's.
"""

from dataclasses import asdict
from typing import Any

from runner.config.job import Plateau
from runner.data import PackedSplit
from runner.errors import Diverged
from runner.model.adapter import causal_lm
from runner.runs import JSON, describe, record_environment
from runner.runs.durable import write_file
from runner.train.assembly import Run
from runner.train.batches import StepBatch
from runner.train.clock import COUNTS_S, VALIDATION_S, peak_gib
from runner.train.schedule import Horizon
from runner.train.step import Losses


def step_record(
    run: Run, step: int, losses: Losses, *, rate: float, norm: float, seconds: float, data_s: float
) -> dict[str, JSON]:
    """One optimizer step; ``norm`` is the gradient's before clipping, ``seconds`` wall time.

    ``data_s`` of it the host spent on making batches; on a GPU it does so while the device is at work.
    """
    tokens = run.job.train.tokens_per_step
    return {
        "kind": "train",
        "step": step,
        **asdict(losses),
        "learning_rate": rate,
        "grad_norm": norm,
        "tokens": step * tokens,
        "tokens_per_s": round(tokens / max(seconds, 1e-9), 1),
        "seconds": round(seconds, 4),
        "data_s": round(data_s, 5),
        "peak_gib": round(peak_gib(run.world.device), 3),
    }


def plateau_record(rule: Plateau, step: int, sooner: Horizon, planned: Horizon) -> dict[str, JSON]:
    """The rule fired after ``step``: the decay runs now, and what that spares of the planned steps."""
    spared = 1.0 - sooner.end / planned.end
    text = (
        f"plateau: {rule.window} steps gained under {rule.improvement}; the decay runs from step {step} "
        f"to {sooner.end}, which spares {spared:.0%} of {planned.end:,} steps"
    )
    return {"kind": "event", "name": "plateau", "step": step, "end": sooner.end, "text": text}


def tell_startup(run: Run, step: int) -> None:
    """Record where the time went from the start of this process's work to the step after ``step``."""
    laps = dict(run.watch.laps)
    measured = sum(laps.pop(name, 0.0) for name in (COUNTS_S, VALIDATION_S)) + run.watch.lap("to_first_step_s")
    run.reporter.record({"kind": "startup", "step": step, **laps, "first_measurements_s": round(measured, 3)})


def tell_environment(run: Run, step: int) -> None:
    """Keep what the run is trained on, and what became of its rows; record what changed since it was started before."""
    config: Any = causal_lm(run.model).config
    model = getattr(config, "_commit_hash", None) or run.job.model.id
    fingerprints = {"data": run.data.fingerprint, "model": str(model), "tokenizer": run.encoder.fingerprint}
    environment = describe(devices=[run.world.device_name], fingerprints=fingerprints)
    write_file(run.folder.ledger_file, run.data.ledger.to_json().encode())
    for change in record_environment(run.folder.environment_file, environment):
        text = f"since the run was started, {change}"
        run.reporter.record({"kind": "event", "step": step, "name": "environment", "text": text})


def rows_of(split: PackedSplit, batch: StepBatch) -> str:
    """Some of the rows of ``batch`` by their ids, in words."""
    ids = [name for index in batch.packs[:4] for name in split.document_ids(index)][:8]
    return f"rows {', '.join(ids)} and others of that step"


def diverged(split: PackedSplit, rate: float, batch: StepBatch, limit: int) -> Diverged:
    """The error that ends a run with the peak ``rate`` after ``limit`` steps in a row, the last on ``batch``."""
    return Diverged(
        f"the loss or its gradient was not finite in {limit} steps in a row, the last at step {batch.step}",
        rows_of(split, batch),
        f"lower train.learning_rate (now {rate}); no such step moved a weight",
    )

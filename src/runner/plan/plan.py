"""A job's plan: its data, its steps, its memory and its hours, and the text that shows them.

What is measured instead of calculated comes from ``runner.train.probe``.
"""

import math
from collections import Counter
from dataclasses import dataclass

from runner.config.job import Job
from runner.data import PreparedData
from runner.model.fused import Kept
from runner.plan.geometry import Geometry
from runner.plan.memory import Memory, predict_memory
from runner.plan.settings import Device, Settings

RAY_START_S = 7.5  # from the command typed to a worker's first line, and in it, one process after the other,
RAY_START_IMPORTS = 2.75  # so many times ``Timing.imports_s``; from 13 s on two cores and 56 on a slow host with a GPU
RAY_END_S = 5.0  # from a worker's last line to the prompt; 3 to 6 s on two cores


@dataclass(frozen=True)
class Plan:
    """What will happen when the job is trained on ``device`` by ``workers``."""

    job: Job
    device: Device
    workers: int
    settings: Settings
    geometry: Geometry
    memory: Memory
    buffers: int  # packed training buffers
    documents: int
    validation_buffers: int

    @property
    def epochs(self) -> float:
        """How often each document is seen."""
        return self.job.train.steps * self.job.buffers_per_step / self.buffers

    @property
    def validations(self) -> int:
        """Measurements of the held-out loss, the first and the last counted."""
        return 1 + -(-self.job.train.steps // self.job.validation.every)

    @property
    def measurable(self) -> bool:
        """Whether one worker's share of a step can be taken without the other workers."""
        return self.workers == 1 or self.job.train.strategy == "ddp"

    @property
    def checkpoint_bytes(self) -> int:
        """One checkpoint: float32 weights and two moments of every trainable parameter."""
        return 12 * self.geometry.trainable


@dataclass(frozen=True)
class Timing:
    """Seconds that the parts of a run took one worker here, and the peak memory of a few real steps of it."""

    step_s: float  # median, as the next
    validation_s: float
    imports_s: float  # of the code that trains, in one process
    start_s: float  # from then to the first step done
    counts: int  # of solved questions, before and after training together
    count_s: float  # one of them
    steps: int
    peak_gib: float


def make_plan(
    job: Job, prepared: PreparedData, geometry: Geometry, device: Device, settings: Settings, workers: int
) -> Plan:
    """The plan that follows from the job, its data and the settings chosen for the device."""
    return Plan(
        job=job,
        device=device,
        workers=workers,
        settings=settings,
        geometry=geometry,
        memory=predict_memory(job, geometry, settings.form, device.kind, ranks=workers),
        buffers=len(prepared.train),
        documents=prepared.train.documents,
        validation_buffers=len(prepared.validation),
    )


def hours(plan: Plan, timing: Timing) -> float:
    """Hours of the whole run: its start and end, every step, every validation, every count of solved questions."""
    seconds = (
        _outside(timing)
        + plan.job.train.steps * timing.step_s
        + plan.validations * timing.validation_s
        + timing.counts * timing.count_s
    )
    return seconds / 3600.0


def _outside(timing: Timing) -> float:
    return RAY_START_S + RAY_START_IMPORTS * timing.imports_s + timing.start_s + RAY_END_S


def render(plan: Plan, timing: Timing | None) -> str:
    """The plan as lines for a terminal; every derived number with its formula."""
    return "\n".join([*_work(plan), "", *_form(plan), "", *_memory(plan, timing), "", *_time(plan, timing)])


def _work(plan: Plan) -> list[str]:
    job, step = plan.job, plan.job.train.tokens_per_step
    mine = -(-job.buffers_per_step // plan.workers)
    passes = -(-mine // plan.settings.micro_batch)
    return [
        f"{job.method} of {job.model.id} on {job.data.id}",
        f"  documents      {plan.documents:,} in {plan.buffers:,} buffers of {job.data.max_length:,} tokens",
        f"  tokens a step  {job.buffers_per_step:,} buffers x {job.data.max_length:,} = {step:,}",
        f"  a worker       {passes} passes x {plan.settings.micro_batch} buffers of {plan.workers} workers' share",
        f"  steps          {job.train.steps:,}, {job.train.steps * step:,} tokens, {plan.epochs:.2f} epochs",
        f"  checkpoints    every {job.checkpoint.every} steps, {plan.checkpoint_bytes / 2**20:,.1f} MiB each, "
        f"{job.checkpoint.keep} kept",
        f"  trainable      {plan.geometry.trainable:,} of {plan.geometry.linear + plan.geometry.other:,} parameters",
    ]


def _form(plan: Plan) -> list[str]:
    settings, quantized = plan.settings, plan.job.model.quantization == "nf4"
    weights = {
        (True, "dequantized"): "rounded to NF4 once, kept as the numbers they stand for",
        (True, "nf4"): "kept in NF4, unpacked in every product",
    }.get((quantized, settings.residency), "16 bits" if plan.device.kind == "cuda" else "32 bits")
    kept = "each layer computed again in the backward pass"
    if settings.recompute == "none":
        kept = f"{settings.activation_budget:.0%} of the activations kept"
    form = "compiled" if settings.compiled else "as transformers has them"
    if settings.fused:
        form, kept = f"written out, attention by {plan.device.attention}", _fused_kept(settings.fused)
        form += ", passes replayed as CUDA graphs" if settings.replayed else ""
    elif plan.device.kind == "cuda" and plan.geometry.why_not_fused is not None:
        form += f" ({plan.geometry.why_not_fused})"
    return [
        f"on {plan.device.name} ({_free(plan.device)})",
        f"  base weights   {weights}",
        f"  activations    {kept}",
        f"  layers         {form}",
    ]


def _free(device: Device) -> str:
    return (
        f"{device.free_gib:.1f} GiB free"
        if math.isfinite(device.free_gib)
        else "whose memory is not that of the cluster"
    )


def _fused_kept(fused: tuple[Kept, ...]) -> str:
    """How many layers keep how much."""
    words: dict[Kept, str] = {
        "all": "all kept",
        "attention": "all but the activation's input",
        "input": "the input alone",
    }
    counts = Counter(fused)
    return ", ".join(f"{words[keeps]} in {counts[keeps]} layers" for keeps in words if counts[keeps])


def _memory(plan: Plan, timing: Timing | None) -> list[str]:
    memory = plan.memory
    lines = [
        f"peak memory, calculated: {memory.total_gib:.2f} GiB = base {memory.base_gib:.2f} + training state "
        f"{memory.state_gib:.2f} + activations {memory.activations_gib:.2f} + working set {memory.working_gib:.2f}"
    ]
    if timing is not None:
        lines.append(f"peak memory, measured over {timing.steps} steps: {timing.peak_gib:.2f} GiB")
    return lines


def _time(plan: Plan, timing: Timing | None) -> list[str]:
    if not plan.measurable:
        strategy = plan.job.train.strategy
        return [f"time: not measured (with train.strategy {strategy} a worker takes no step without the others)"]
    if timing is None:
        return ["time: not measured (leave out --no-measure to run a few steps)"]
    total = hours(plan, timing)
    rate = plan.job.train.tokens_per_step / timing.step_s
    here = "measured here" if plan.workers == 1 else "one worker measured here, without the sums over workers"
    counts = f" + {timing.counts} counts of solved questions x {timing.count_s:.2f} s" if timing.counts else ""
    return [
        f"time: {_duration(total)} = start and end {_outside(timing):.0f} s + {plan.job.train.steps:,} steps x "
        f"{timing.step_s:.3f} s + {plan.validations} validations x {timing.validation_s:.2f} s{counts}"
        f"   ({rate:,.0f} tokens/s, {here})"
    ]


def _duration(total_hours: float) -> str:
    if total_hours < 1 / 30:
        return f"{total_hours * 3600:.0f} s"
    return f"{total_hours * 60:.1f} min" if total_hours < 1.5 else f"{total_hours:.1f} h"

"""The choices a job leaves open (`auto`), settled for the device that is there.

The memory each choice takes is in ``memory``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from runner.config.job import Job
from runner.errors import DoesNotFit, UserError
from runner.model.base import Residency
from runner.model.fused import Attention, Kept
from runner.plan.geometry import Geometry
from runner.plan.memory import Form, Memory, predict_memory

MARGIN = 0.94  # of the free memory: predictions may be 5 % short, and allocators fragment
TOKENS_A_PASS = 8192  # the most that were tried at the larger budget; half of it was 7 % slower on an H200
AGAIN: dict[Kept, float] = {"all": 0.0, "attention": 0.12, "input": 0.24}  # time of computing a layer again, H200
UNPACKING = 0.07 * 8192  # x time of a pass / its tokens: unpacking every weight in it, StarCoder2-3B on an H200
BUDGETS = (0.5, 0.3)  # parts of the activations that compiled layers keep; all of them gained 1 % on an H200


@dataclass(frozen=True)
class Device:
    """What memory there is to plan for."""

    kind: Literal["cuda", "cpu"]
    name: str
    free_gib: float
    attention: Attention = "torch's flash kernel"  # whose kernels written-out layers attend by


@dataclass(frozen=True)
class Settings:
    """How a job is trained on one device."""

    residency: Residency
    micro_batch: int  # packed buffers in a forward pass
    recompute: Literal["none", "layers"]  # layers: keep each layer's input only
    compiled: bool
    activation_budget: float  # part of the activations that compiled layers keep, 0 to 1
    fused: tuple[Kept, ...] = ()  # what each written-out layer keeps; none where layers are transformers' own
    replayed: bool = False  # written-out layers' passes as CUDA graphs

    @property
    def form(self) -> Form:
        """What of the settings memory depends on."""
        kept = None if self.recompute == "layers" else self.activation_budget
        return Form(self.residency, self.micro_batch, kept, self.fused, self.replayed)


def settle(job: Job, geometry: Geometry, device: Device, *, ranks: int) -> Settings:
    """The fastest settings of ``job`` that fit on ``device`` for ``ranks`` workers.

    On a CPU there is one form, in one pass where there is room.  Raises ``UserError`` when documents may be longer
    than the model has positions or a step has fewer buffers than workers, ``DoesNotFit`` when no form fits, with the
    key to turn.
    """
    check_positions(job, geometry.positions)
    mine = _buffers_of_one_rank(job, ranks)
    if job.train.kernels == "fused" and geometry.why_not_fused is not None:
        raise UserError(
            f"train.kernels is fused, and the layers of this model stay as they are: {geometry.why_not_fused}",
            f"model.id {job.model.id}",
            "set train.kernels to auto",
        )
    smallest: tuple[Settings, Memory] | None = None
    for settings in _candidates(job, geometry, mine) if device.kind == "cuda" else _on_a_cpu(job, geometry, mine):
        memory = predict_memory(job, geometry, settings.form, device.kind, ranks=ranks)
        if memory.total_gib <= MARGIN * device.free_gib:
            return settings
        if smallest is None or memory.total_gib < smallest[1].total_gib:
            smallest = settings, memory
    assert smallest is not None, "there is always a candidate"
    raise _does_not_fit(job, smallest[1], device)


def check_positions(job: Job, positions: int) -> None:
    """Raise ``UserError`` when a document of ``job`` may be longer than the model has ``positions``; 0: no limit."""
    if 0 < positions < job.data.max_length:
        raise UserError(
            f"data.max_length is {job.data.max_length} and the model has {positions} positions",
            f"data.max_length / model.id {job.model.id}",
            f"lower data.max_length to at most {positions}",
        )


def _buffers_of_one_rank(job: Job, ranks: int) -> int:
    if ranks > job.buffers_per_step:
        raise UserError(
            f"{ranks} workers share a step of {job.buffers_per_step} buffers",
            "train.tokens_per_step / data.max_length",
            f"use at most {job.buffers_per_step} workers, or raise train.tokens_per_step",
        )
    return -(-job.buffers_per_step // ranks)


def _candidates(job: Job, geometry: Geometry, buffers: int) -> Iterator[Settings]:
    """From the fastest to the smallest; a pass is made smaller only when nothing less can be kept."""
    forms = [form for residency in _residencies(job) for form in _forms(job, geometry, residency)]
    fused, others = [form for form in forms if form.fused], [form for form in forms if not form.fused]
    counts = _row_counts(job, buffers, most=max(1, TOKENS_A_PASS // job.data.max_length))
    for rows in counts:
        tokens, even = rows * job.data.max_length, buffers % rows == 0
        for form in sorted(fused, key=lambda form: _slowness(form, tokens)):
            yield replace(form, micro_batch=rows, replayed=even)
    for form in others:
        yield from (replace(form, micro_batch=rows) for rows in counts)


def _on_a_cpu(job: Job, geometry: Geometry, buffers: int) -> Iterator[Settings]:
    keeps: Kept = "all"
    fused = (keeps,) * (geometry.layers if job.train.kernels == "fused" else 0)
    for rows in _row_counts(job, buffers, most=buffers):
        yield Settings("dequantized", rows, "none", compiled=False, activation_budget=1.0, fused=fused)


def _slowness(form: Settings, tokens: int) -> float:
    """Time that a pass of ``tokens`` takes more than one that keeps all and unpacks nothing, as a part of that one."""
    again = sum(AGAIN[keeps] for keeps in form.fused) / len(form.fused)
    return again + (UNPACKING / tokens * (1.0 + again) if form.residency == "nf4" else 0.0)


def _residencies(job: Job) -> tuple[Residency, ...]:
    if job.model.quantization == "none":
        return ("dequantized",)
    return ("dequantized", "nf4") if job.model.resident == "auto" else (job.model.resident,)


def _forms(job: Job, geometry: Geometry, residency: Residency) -> Iterator[Settings]:
    kernels, layers = job.train.kernels, geometry.layers
    strategy = job.train.strategy  # written-out layers add gradients where DeepSpeed does not see them
    if strategy == "ddp" and geometry.why_not_fused is None and kernels in ("auto", "fused"):
        steps: list[tuple[Kept, Kept]] = [("all", "attention"), ("attention", "input")]
        for more, less in steps:
            for count in range(layers, -1, -1):
                kept = (more,) * count + (less,) * (layers - count)
                yield Settings(residency, 1, "none", compiled=False, activation_budget=1.0, fused=kept)
    if strategy != "zero3" and residency == "dequantized" and kernels in ("auto", "compiled"):
        for budget in BUDGETS:
            yield Settings(residency, 1, "none", compiled=True, activation_budget=budget)
    if kernels != "fused":
        yield Settings(residency, 1, "layers", compiled=False, activation_budget=1.0)


def _row_counts(job: Job, buffers: int, *, most: int) -> tuple[int, ...]:
    """Buffers in a pass, most first; a divisor of the rank's share, so that every pass has one shape."""
    if job.train.micro_batch != "auto":
        return (min(job.train.micro_batch, buffers),)
    return tuple(rows for rows in range(min(most, buffers), 0, -1) if buffers % rows == 0)


def _does_not_fit(job: Job, least: Memory, device: Device) -> DoesNotFit:
    return DoesNotFit(
        f"the job needs at least {least.total_gib:.1f} GiB and {device.name} has {device.free_gib:.1f} GiB free",
        f"base {least.base_gib:.1f}, training state {least.state_gib:.1f}, activations {least.activations_gib:.1f}, "
        f"working set {least.working_gib:.1f} GiB",
        f"turn {_key_to_turn(job, least, device)}",
    )


def _key_to_turn(job: Job, least: Memory, device: Device) -> str:
    if device.kind == "cuda" and job.model.quantization == "none" and job.lora is not None:
        return "model.quantization (nf4)"  # on a CPU four bits are unpacked
    if least.activations_gib > least.base_gib:
        return "data.max_length" if job.train.micro_batch in ("auto", 1) else "train.micro_batch (auto takes what fits)"
    return "lora (give it a rank)" if job.lora is None else "model.id (a smaller model)"

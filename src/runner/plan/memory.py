"""How much device memory a job takes, part by part, from sizes alone.

The coefficients of the working set were fitted to runs of StarCoder2-3B's geometry (tests/plan/test_memory.py); the
rest follows from counting bytes.  Measuring instead of calculating is ``runner.train.probe``'s.
"""

from dataclasses import dataclass
from typing import Literal

from runner.config.job import Job
from runner.model.base import Residency
from runner.model.fused import Kept
from runner.plan.geometry import Geometry

GIB = 2**30
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # a weight: 4 bits, an 8-bit scale per 64, a float32 scale per 256 of those
STATE_BYTES = 16  # of a trainable weight: float32 master, gradient and two moments of AdamW
WORKING_LAYERS = 3.5  # a compiled layer's backward pass holds so many times what its forward pass would save
WORKING_LAYERS_EAGER = 1.1  # the same for a layer that is not compiled
HEAD_CHUNK_BYTES = 256 * 2**20  # logits held at once (runner.train.loss)
PRODUCTS_BYTES = 32 * 2**20  # cuBLAS's workspace of one stream
GATHERED = 200_000_000  # weights that zero3 holds whole at once (runner.train.strategies.derived)
HEAD_COPIES = 1.6  # of them on a CPU, which works in a copy
CPU_SAVED = 2.0  # transformers' own layers in float32 save so many times what is counted: 1.9 to 2.1 measured
CPU_RUNTIME_GIB = 0.7  # resident size of the interpreter with torch, transformers and Ray, before any model


@dataclass(frozen=True)
class Form:
    """What memory depends on of how a job is trained."""

    residency: Residency
    micro_batch: int  # packed buffers in a forward pass
    kept: float | None  # part of the activations kept; None keeps each layer's input and computes it again
    fused: tuple[Kept, ...] = ()  # what each written-out layer keeps; none where layers are transformers' own
    replayed: bool = False  # written-out layers' passes as CUDA graphs


@dataclass(frozen=True)
class Memory:
    """GiB by part at the peak of a step."""

    base_gib: float
    state_gib: float
    activations_gib: float
    working_gib: float

    @property
    def total_gib(self) -> float:
        """The peak."""
        return self.base_gib + self.state_gib + self.activations_gib + self.working_gib


def predict_memory(job: Job, geometry: Geometry, form: Form, kind: Literal["cuda", "cpu"], *, ranks: int = 1) -> Memory:
    """The peak memory of a training step of ``job`` in ``form`` on one device of ``ranks``.

    Within 10 % of what was measured for StarCoder2-3B's geometry at 4,096 to 16,384 tokens a pass on CUDA, and on a
    CPU for the embedded base and SmolLM2-135M with adapters.  What DeepSpeed's strategies share out and gather is
    counted, not measured.
    """
    width = 2 if kind == "cuda" else 4
    tokens = form.micro_batch * job.data.max_length
    saved = float(geometry.saved * width * tokens)  # bytes that one layer would save
    runtime = 0.0 if kind == "cuda" else CPU_RUNTIME_GIB
    parts = ranks if job.train.strategy == "zero3" else 1
    base = _base_bytes(job, geometry, form.residency, width) / parts / GIB + runtime
    state = geometry.trainable * _state_bytes(job, kind, ranks) / GIB
    if form.fused:
        kept = float(width * tokens * sum(_fused_kept(job, geometry, keeps) for keeps in form.fused))
        working = _fused_working(geometry, form, tokens, width)
        return Memory(base, state, kept / GIB, working / GIB)
    compiled = kind == "cuda" and form.kept is not None
    working = (WORKING_LAYERS if compiled else WORKING_LAYERS_EAGER) * saved
    if form.kept is None:
        kept = float(geometry.layers * geometry.hidden * width * tokens)
    else:
        kept = geometry.layers * saved * form.kept * (1.0 if kind == "cuda" else CPU_SAVED)
    attention = tokens * max(geometry.heads_width, 1) * width if kind == "cuda" else _score_bytes(job, form)
    gathered = GATHERED * width if parts > 1 else 0
    return Memory(
        base_gib=base,
        state_gib=state,
        activations_gib=kept / GIB,
        working_gib=(working + attention + _head_bytes(geometry, tokens) + gathered) / GIB,
    )


def _fused_kept(job: Job, geometry: Geometry, keeps: Kept) -> int:
    """Elements a token that one written-out layer keeps; see ``runner.model.fused.layer``."""
    rank = 0 if job.lora is None else job.lora.rank
    kept = geometry.hidden + rank
    if keeps != "input":
        kept += 2 * geometry.heads_width + 2 * geometry.key_width + geometry.hidden + 5 * rank
    if keeps == "all":
        kept += geometry.rise + rank
    return kept


def _fused_working(geometry: Geometry, form: Form, tokens: int, width: int) -> float:
    """Bytes that the backward pass of one written-out layer holds: the larger of its two halves."""
    hidden = 4 * geometry.hidden
    head = min(HEAD_CHUNK_BYTES, width * tokens * geometry.vocabulary)
    mlp = width * tokens * (geometry.rise + geometry.fall + hidden) + head
    attention = width * tokens * (2 * geometry.heads_width + 2 * geometry.key_width + hidden)
    attention += 4 * tokens * geometry.heads_width  # the kernels sum the queries' gradient in float32
    unpacked = width * geometry.hidden * max(geometry.rise, geometry.fall) if form.residency == "nf4" else 0
    again = 0 if set(form.fused) == {"all"} else width * tokens * geometry.rise
    working = max(mlp, attention) + again + unpacked
    # graphs hold states and their gradient between them, keep their working set while the head has its own, and
    # multiply on a stream of their own
    replayed = 3 * width * tokens * geometry.hidden + head + PRODUCTS_BYTES if form.replayed else 0
    return float(working + replayed)


def _base_bytes(job: Job, geometry: Geometry, residency: Residency, width: int) -> float:
    if job.lora is None:
        return 0.0 if width == 4 else float((geometry.linear + geometry.other) * width)
    linear = NF4_BYTES if job.model.quantization == "nf4" and residency == "nf4" else width
    return geometry.linear * linear + geometry.other * width


def _state_bytes(job: Job, kind: str, ranks: int) -> float:
    """Beside the masters CUDA holds a 16-bit copy to compute with and its gradient; DeepSpeed shares out the rest."""
    if job.train.strategy != "ddp":
        return STATE_BYTES / ranks + 2 * (2 if kind == "cuda" else 4)
    copies = 4 if kind == "cuda" and job.lora is not None else 2 if kind == "cuda" else 0
    return STATE_BYTES + copies


def _head_bytes(geometry: Geometry, tokens: int) -> float:
    return HEAD_COPIES * min(HEAD_CHUNK_BYTES, 4 * tokens * geometry.vocabulary)


def _score_bytes(job: Job, form: Form) -> int:
    """The block mask of one pass on a CPU, a byte and a float32 each."""
    return 5 * form.micro_batch * job.data.max_length**2

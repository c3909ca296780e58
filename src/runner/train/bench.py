"""The training step of a job's model, measured on random tokens: no tokenizer, no data set, nothing kept.

Which cases there are and how they are shown is ``runner.cli``'s; the same step by TRL is ``peer``'s.
"""

import gc
import itertools
import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runner.config.job import Job
from runner.data.packing import pack_lengths
from runner.data.shards import ANSWER, NOT_LEARNED, Pack
from runner.errors import DoesNotFit, UserError
from runner.model.base import load_config
from runner.plan import Geometry, Settings, present_device, settle
from runner.train.batches import MicroBatch, StepBatch, learned_tokens, micro_batch
from runner.train.clock import peak_gib
from runner.train.optimizer import FlatAdamW
from runner.train.profiling import DeviceTime, Profiled
from runner.train.setup import build_model, choose_kernels
from runner.train.step import losses_of, train_step
from runner.train.weights import FlatWeights
from runner.train.world import World

WARM_UP = 4  # steps that compile, allocate and fill caches
MEASURED = 8
PROFILED = 2  # steps of which every kernel is noted
RATE = 1e-4
PROMPT = 0.05  # first part of every document, which is not learned
SHORTEST = 64  # tokens of a document of mixed length
POOL = 64  # times as many buffers are packed as are measured


@dataclass(frozen=True)
class Case:
    """The packed buffers of one step, the same in every step."""

    length: int  # tokens of a buffer
    packs: tuple[Pack, ...]
    documents: tuple[int, ...]  # their lengths, padding not counted
    mixed: bool

    @property
    def name(self) -> str:
        """Buffers and their length."""
        return f"{len(self.packs)} x {self.length:,}{' mixed' if self.mixed else ''}"

    @property
    def tokens(self) -> int:
        """Tokens of documents."""
        return sum(self.documents)


@dataclass(frozen=True)
class Figures:
    """What was measured of one case."""

    tokens_s: float  # of documents; the median step's
    peak_gib: float  # over all steps
    first_step_s: float  # with what is compiled
    loss: float  # of the last step, nats a token
    step_s: tuple[float, ...]  # the steps that are counted


@dataclass(frozen=True)
class Row:
    """One case by one way of computing it: its figures, or why there are none."""

    case: str
    kernels: str  # as train.kernels names them, or TRL
    form: str
    figures: Figures | None
    why: str = ""
    reference: bool = False  # the peer as it comes, which the others of the case are compared with
    spent: DeviceTime | None = None  # where the time goes, if that was asked for


def equal_case(length: int, tokens: int, vocabulary: int) -> Case:
    """About ``tokens`` random tokens in buffers of one document of ``length`` each; at least one buffer."""
    generator = np.random.default_rng(length)
    packs = tuple(_pack((length,), length, vocabulary, generator) for _ in range(max(1, tokens // length)))
    return Case(length, packs, (length,) * len(packs), mixed=False)


def mixed_case(length: int, tokens: int, vocabulary: int) -> Case:
    """About ``tokens`` random tokens in buffers of ``length``, packed with documents of 64 to ``length`` tokens.

    The documents' lengths are drawn from a log-normal distribution that is cut two deviations from its median on both
    sides.  Many more buffers are packed than are taken, so that the padding is a real job's; taken are those evenly
    spaced in the order of how many documents they hold.
    """
    generator = np.random.default_rng(length)
    buffers = max(1, tokens // length)
    shortest = min(SHORTEST, length)
    deviation = math.log(length / shortest) / 4
    lengths: list[int] = []
    while sum(lengths) < POOL * buffers * length:
        drawn = generator.lognormal(math.log(shortest) + 2 * deviation, deviation)
        lengths.append(min(max(round(drawn), shortest), length))
    packing = pack_lengths(lengths, length)
    members = [packing.documents[packing.offsets[i] : packing.offsets[i + 1]] for i in range(len(packing))]
    members.sort(key=len)
    chosen = [members[(2 * i + 1) * len(members) // (2 * buffers)] for i in range(buffers)]
    documents = [tuple(lengths[number] for number in pack) for pack in chosen]
    packs = tuple(_pack(pack, length, vocabulary, generator) for pack in documents)
    return Case(length, packs, tuple(size for pack in documents for size in pack), mixed=True)


def _pack(documents: Sequence[int], length: int, vocabulary: int, generator: np.random.Generator) -> Pack:
    tail = length - sum(documents)
    lengths = (*documents, tail) if tail else tuple(documents)
    parts = np.full(length, NOT_LEARNED, dtype=np.uint8)
    start = 0
    for size in documents:
        parts[start + math.ceil(PROMPT * size) : start + size] = ANSWER
        start += size
    return Pack(
        ids=generator.integers(vocabulary, size=length, dtype=np.int32),
        parts=parts,
        positions=np.concatenate([np.arange(size, dtype=np.int32) for size in lengths]),
        lengths=lengths,
    )


def job_of(job: Job, case: Case, kernels: str) -> Job:
    """``job`` with steps as large as ``case``, on ``kernels``."""
    data = job.data.model_copy(update={"max_length": case.length})
    train = job.train.model_copy(update={"tokens_per_step": len(case.packs) * case.length, "kernels": kernels})
    return job.model_copy(update={"data": data, "train": train})


def run_case(job: Job, case: Case, kernels: str, geometry: Geometry, *, profiled: bool = False) -> Row:
    """The steps of ``case`` on ``kernels``, in the form that is chosen for this device's free memory.

    With ``profiled`` more steps follow, not replayed, in which the time of every kernel is noted.  A case that does not
    fit, or that the model cannot take, gives a row that says so; nothing of it stays in memory.
    """
    job = job_of(job, case, kernels)
    try:
        settings = settle(job, geometry, present_device(), ranks=1)
    except (DoesNotFit, UserError) as error:
        return Row(case.name, kernels, "", None, error.what)
    figures, why, spent = None, "", None
    try:
        figures = _measured(job, case, settings, World())
        if profiled:
            _release()
            spent = _profiled(job, case, replace(settings, replayed=False), World(), geometry.vocabulary)
    except torch.OutOfMemoryError as error:
        why = " ".join(str(error).split())
    _release()
    return Row(case.name, kernels, form_of(settings, len(case.packs)), figures, why, spent=spent)


class _Steps:
    """The model of a job in one form, and the steps of a case one after the other."""

    def __init__(self, job: Job, case: Case, settings: Settings, world: World) -> None:
        choose_kernels(world.device, deterministic=job.train.deterministic)
        self._job, self._case, self._settings, self._world = job, case, settings, world
        self._model = build_model(job, settings, world.device)
        self._optimizer = FlatAdamW(FlatWeights(self._model), job.train)
        self._learned = sum(learned_tokens(pack) for pack in case.packs)
        self._step = 0

    def next(self) -> Tensor:
        """Queue one step; its record, still on the device."""
        self._step += 1
        packs, world = self._case.packs, self._world
        batches = _micro_batches(packs, self._settings.micro_batch, world.device)
        batch = StepBatch(self._step, batches, self._learned, tuple(range(len(packs))))
        seed = self._job.train.seed
        return train_step(self._model, self._optimizer, batch, world, rate=RATE, seed=seed, stop=False)


def _profiled(job: Job, case: Case, settings: Settings, world: World, vocabulary: int) -> DeviceTime:
    steps = _Steps(job, case, settings, world)
    for _ in range(WARM_UP):
        steps.next()
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    with Profiled(PROFILED, vocabulary) as noted:
        for _ in range(PROFILED):
            steps.next()
    return noted.spent()


def _measured(job: Job, case: Case, settings: Settings, world: World) -> Figures:
    steps = _Steps(job, case, settings, world)
    laps, record = _Laps(world.device), torch.zeros(0)
    if world.device.type == "cuda":  # before the first step: later ones may be replayed in memory taken then
        torch.cuda.reset_peak_memory_stats(world.device)
    for step in range(1, WARM_UP + MEASURED + 1):
        record = steps.next()
        laps.end(wait=step <= WARM_UP)
    seconds = laps.seconds()
    counted = seconds[WARM_UP:]
    return Figures(
        tokens_s=case.tokens / statistics.median(counted),
        peak_gib=peak_gib(world.device),
        first_step_s=seconds[0],
        loss=losses_of(record.tolist()).loss,
        step_s=counted,
    )


class _Laps:
    """Seconds from the end of one step to the end of the next on the device; as in training, no step waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ends: list[Any] = [self._now()]  # CUDA events, or the clock's seconds

    def end(self, *, wait: bool) -> None:
        """All of a step has been queued; ``wait`` for its end, so that the next one starts with nothing before it."""
        self._ends.append(self._now())
        if wait and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def seconds(self) -> tuple[float, ...]:
        """Of every step; waits for the last one."""
        if self._device.type != "cuda":
            return tuple(end - start for start, end in itertools.pairwise(self._ends))
        self._ends[-1].synchronize()
        return tuple(start.elapsed_time(end) / 1000.0 for start, end in itertools.pairwise(self._ends))

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        event.record(torch.cuda.current_stream(self._device))
        return event


def _micro_batches(packs: Sequence[Pack], rows: int, device: torch.device) -> Iterator[MicroBatch]:
    for start in range(0, len(packs), rows):
        yield micro_batch(list(packs[start : start + rows]), start, device)


def form_of(settings: Settings, buffers: int) -> str:
    """How a step of ``buffers`` is computed, in a few words."""
    form = "as transformers has them"
    if settings.fused:
        counts = Counter(settings.fused)
        form = "written out, " + " + ".join(f"{count} {keeps}" for keeps, count in counts.items())
        form += ", replayed" if settings.replayed else ""
    elif settings.compiled:
        form = f"compiled {100 * settings.activation_budget:.0f} %"
    elif settings.recompute == "layers":
        form = "recomputed"
    passes = -(-buffers // settings.micro_batch)
    return form + (", nf4" if settings.residency == "nf4" else "") + (f", {passes} passes" if passes > 1 else "")


def write_random(job: Job, folder: Path) -> Job:
    """Write random weights of the model of ``job`` into ``folder``, made on the CUDA device; the job that loads them.

    Faster than the same from the seed on a CPU, and what another program can load as well; call it before memory is
    limited.  Raises ``DoesNotFit`` when the card is too small for the 16-bit model.
    """
    from transformers import AutoModelForCausalLM

    torch.manual_seed(job.train.seed)
    try:
        with World().device:
            config = load_config(job.model)
            base: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
    except torch.OutOfMemoryError as error:
        raise DoesNotFit(
            f"random weights cannot be made on {present_device().name}, which is too small for them in 16 bits",
            f"model.id {job.model.id}",
            "take a smaller model, or pretrained weights",
        ) from error
    base.save_pretrained(folder)
    del base
    _release()
    model = job.model.model_copy(update={"id": str(folder), "revision": None, "weights": "pretrained"})
    return job.model_copy(update={"model": model})


def _release() -> None:
    """Give back what the last model held: its memory, and the code compiled for its shapes."""
    torch.compiler.reset()
    while gc.collect():  # what one round frees may have held what the next one finds
        pass
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

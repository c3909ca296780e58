"""Everything a run is made of, put together before its first step.

What is done with it is ``loop``'s.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from runner.config.job import Job
from runner.data import PreparedData, prepare
from runner.errors import DoesNotFit
from runner.model.base import check_vocabulary, load_config
from runner.model.tokenizer import Encoder, load_encoder
from runner.plan import Geometry, Settings, check_positions, present_device, read_geometry, read_positions, settle
from runner.runs import RunFolder
from runner.train.batches import Batches
from runner.train.clock import Stopwatch
from runner.train.identity import pinned, stamp_of
from runner.train.optimizer import FlatAdamW
from runner.train.reporter import Reporter
from runner.train.saving import Saves
from runner.train.setup import build_model, choose_kernels
from runner.train.state import read_passes
from runner.train.step import token_losses
from runner.train.strategies import Strategy, loading, start_zero
from runner.train.weights import FlatWeights
from runner.train.world import World

STATE_BYTES = 12  # a trainable weight in a checkpoint: itself and two moments, float32 each


@dataclass(frozen=True)
class Run:
    """Everything that stays the same from the first step to the last, but for smaller passes where memory ends."""

    job: Job
    folder: RunFolder
    world: World
    reporter: Reporter
    encoder: Encoder
    data: PreparedData
    settings: Settings
    model: nn.Module
    engine: nn.Module  # what a pass goes through: ``model`` itself, or DeepSpeed's engine around it
    optimizer: Strategy
    saves: Saves
    watch: Stopwatch


def assemble(job: Job, folder: RunFolder, world: World, reporter: Reporter, *, cache: Path) -> Run:
    """Tokenizer, data, model and optimizer, each timed; nothing has been trained yet."""
    watch = Stopwatch()
    choose_kernels(world.device, deterministic=job.train.deterministic)
    started = pinned(job, folder, world, reporter)
    geometry = read_geometry(started)  # which refuses some models, before data are tokenised for them
    encoder, data = load_data(started, cache=cache)
    watch.lap("data_s")
    stamp = stamp_of(job, started.model, data.fingerprint)
    saves = Saves.begin(folder, world, keep=job.checkpoint.keep, stamp=stamp)
    settings = settled_together(started, geometry, world, saves)
    if settings.compiled and geometry.why_not_fused is not None:
        text = f"layers are compiled and not written out: {geometry.why_not_fused}"
        reporter.record({"kind": "event", "step": 0, "name": "layers", "text": text})
    with loading(job, world):
        model = build_model(started, settings, world.device)
    engine, optimizer = begin_strategy(job, model, settings, world)
    watch.lap("model_s")
    saves.preflight(STATE_BYTES * optimizer.count)
    return Run(job, folder, world, reporter, encoder, data, settings, model, engine, optimizer, saves, watch)


def settled_together(job: Job, geometry: Geometry, world: World, saves: Saves) -> Settings:
    """The settings of ``job`` for the device that is here, in passes of as many buffers as all ranks have room for.

    A run that goes on takes as many as before its checkpoint where there is room, so that its sums stay the same to the
    bit whatever memory is free now.
    """
    device = present_device()
    settings = settle(job, geometry, device, ranks=world.size)
    before = world.from_lead(_buffers_before(saves, world)) or settings.micro_batch
    if before > settings.micro_batch:
        as_before = job.model_copy(update={"train": job.train.model_copy(update={"micro_batch": before})})
        with suppress(DoesNotFit):
            settings = settle(as_before, geometry, device, ranks=world.size)
    return replace(settings, micro_batch=world.least(min(before, settings.micro_batch)))


def _buffers_before(saves: Saves, world: World) -> int:
    """Buffers in a pass before the checkpoint that is gone on from; 0 for none, or of other ranks or devices."""
    step, _ = saves.newest()
    passes = read_passes(saves.path(step)) if step >= 0 else None
    if passes is None or (passes.device, passes.ranks) != (world.device.type, world.size):
        return 0
    return passes.micro_batch


def begin_strategy(job: Job, model: nn.Module, settings: Settings, world: World) -> tuple[nn.Module, Strategy]:
    """What a pass goes through and what takes the steps, as ``train.strategy`` says."""
    if job.train.strategy == "ddp":
        return model, FlatAdamW(FlatWeights(model), job.train)
    return start_zero(job, model, world, rows=settings.micro_batch, losses=token_losses)


def load_data(job: Job, *, cache: Path) -> tuple[Encoder, PreparedData]:
    """The tokenizer of the model and the packed data; ``UserError`` where they and the model do not go together."""
    encoder = load_encoder(job.model)
    check_vocabulary(load_config(job.model), encoder.vocabulary, job.model.id)
    check_positions(job, read_positions(job.model))
    return encoder, prepare(job.data, encoder, cache=cache)


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
        even=run.job.train.strategy != "ddp",
    )

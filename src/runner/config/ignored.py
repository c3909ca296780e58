"""Keys of a sound job that have no effect, or another one than they seem to have: worth a warning, no fault.

Faults are told by ``faults``; showing the warnings is the command line's.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from runner.config.job import Columns, Job


def ignored_settings(job: Job) -> tuple[str, ...]:
    """One line for each key that is not at its default and not used as it says, with what happens instead."""
    return (*_of_model(job), *_of_data(job), *_of_schedule(job), *_of_intervals(job))


def _changed(section: BaseModel, *keys: str) -> list[str]:
    """Those of ``keys`` that are not at their default; a run's own job.yaml writes every key out."""
    return [key for key in keys if getattr(section, key) != type(section).model_fields[key].default]


def _of_model(job: Job) -> Iterator[str]:
    if job.model.quantization == "none" and job.model.resident != "auto":
        yield f"model.resident {job.model.resident} is not used: model.quantization is none"
    if _changed(job.model, "revision") and _is_at_hand(job.model.id):
        yield f"model.revision {job.model.revision} is not used: {job.model.id} is not taken from the hub"


def _of_data(job: Job) -> Iterator[str]:
    data = job.data
    if data.columns != Columns() and data.format not in ("columns", "chat"):
        yield f"data.columns is not used: data.format is {data.format}"
    if data.id.startswith("builtin:"):
        for key in _changed(data, "revision", "config", "split", "validation_split", "rows_per_question"):
            yield f"data.{key} {getattr(data, key)} is not used: {data.id} is generated"
    elif _changed(data, "revision") and _is_at_hand(data.id):
        yield f"data.revision {data.revision} is not used: {data.id} is not taken from the hub"
    if job.evaluation.questions and data.id != "builtin:questions":
        yield f"evaluation.questions {job.evaluation.questions} is not used: only builtin:questions has hidden tests"


def _of_schedule(job: Job) -> Iterator[str]:
    train = job.train
    if train.schedule != "warmup-stable-decay" and _changed(train, "decay"):
        yield f"train.decay {train.decay} is not used: train.schedule is {train.schedule}"
    stable = round(train.steps * (1.0 - train.warmup - train.decay))
    if job.stop.plateau is not None and job.stop.plateau.window >= stable:
        yield (
            f"stop.plateau never fires: its window has {job.stop.plateau.window:,} steps, "
            f"the stable phase {stable:,} of {train.steps:,}"
        )


def _of_intervals(job: Job) -> Iterator[str]:
    steps = job.train.steps
    if job.validation.every > steps:
        yield f"validation.every {job.validation.every:,} is over train.steps {steps:,}: measured before and after only"
    every = job.checkpoint.every
    if every > steps:
        yield f"checkpoint.every {every:,} is over train.steps {steps:,}: saved after the last step only"
    elif steps % every:
        yield (
            f"checkpoint.every {every:,} does not divide train.steps {steps:,}: "
            f"the last two checkpoints lie {steps % every:,} steps apart"
        )


def _is_at_hand(name: str) -> bool:
    return name.startswith("builtin:") or Path(name).expanduser().exists()

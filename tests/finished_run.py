"""A small run that has ended, as the commands that read runs find it."""

from pathlib import Path
from typing import Any

import torch

from runner.config.job import Job
from runner.config.load import job_hash
from runner.runs import JobRecord, MetricsLog, RunFolder, open_run
from runner.runs.trackers import open_trackers
from runner.train.loop import train
from runner.train.reporter import FileReporter
from runner.train.world import World

STEPS = 8


def small_job(**changes: Any) -> Job:
    """QLoRA of the embedded base on generated questions; ``train__seed=3`` changes one key."""
    values: dict[str, Any] = {
        "name": "small",
        "model": {"id": "builtin:tiny-starcoder2", "quantization": "nf4"},
        "data": {"id": "builtin:questions", "questions": 60, "max_length": 256, "validation_questions": 8},
        "lora": {"rank": 4, "alpha": 16},
        "train": {"tokens_per_step": 512, "steps": STEPS, "learning_rate": 5e-3, "warmup": 0.2},
        "validation": {"every": 4},
        "checkpoint": {"every": 4},
        "track": (),
    }
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        values[section] = {**values[section], key: value} if key else value
    return Job.model_validate(values)


def full_job() -> Job:
    """The same with every parameter trained."""
    return small_job(lora=None, model__quantization="none", train__learning_rate=1e-3)


def finished_run(job: Job, storage: Path, cache: Path) -> RunFolder:
    """The folder of ``job``, trained to its end under ``storage``."""
    record = JobRecord(job.model_dump(mode="json"), job_hash(job))
    with open_run(storage, job.name, job=record, resume="never") as opened:
        folder = opened.folder
        log = MetricsLog(folder.metrics_file)
        reporter = FileReporter(log, lambda step: open_trackers((), folder, step=step), folder.root / "stop")
        result = train(job, folder, World(device=torch.device("cpu")), reporter, cache=cache)
        reporter.close()
        opened.record("finished", step=result.step, steps=job.train.steps, reason="finished")
    return folder

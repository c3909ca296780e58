"""Warnings: a written key that has no effect is told, and a sound job gives none."""

import json
from pathlib import Path

import pytest

from runner.config.ignored import ignored_settings
from runner.config.job import Job
from runner.config.load import load_job

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["model.quantization=none", "model.resident=nf4"], "model.resident nf4 is not used"),
        (["model.revision=v1"], "model.revision v1 is not used: builtin:tiny-starcoder2"),
        (["data.columns.prompt=text"], "data.columns is not used: data.format is open-code-reasoning"),
        (["data.split=test"], "data.split test is not used: builtin:questions is generated"),
        (["data.id=some/set", "evaluation.questions=5"], "only builtin:questions has hidden tests"),
        (["data.id=.", "data.revision=v1"], "data.revision v1 is not used: . is not taken from the hub"),
        (["train.schedule=cosine", "train.decay=0.2"], "train.decay 0.2 is not used: train.schedule is cosine"),
        (["train.steps=600", "stop.plateau={window: 522}"], "stop.plateau never fires"),
        (["train.steps=40"], "validation.every 50 is over train.steps 40"),
        (["train.steps=40"], "checkpoint.every 50 is over train.steps 40"),
        (["train.steps=120"], "checkpoint.every 50 does not divide train.steps 120: the last two checkpoints lie 20"),
    ],
)
def test_a_key_without_effect_is_told(tmp_path: Path, overrides: list[str], part: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("train: {steps: 100}\nvalidation: {every: 50}\ncheckpoint: {every: 50}\n")
    assert ignored_settings(load_job(file)) == ()
    assert any(line.startswith(part) or part in line for line in ignored_settings(load_job(file, overrides)))


def test_a_plateau_whose_window_fits_is_not_warned_of() -> None:
    job = Job.model_validate({"train": {"steps": 600}, "stop": {"plateau": {"window": 500}}})
    assert not any("plateau" in line for line in ignored_settings(job))


@pytest.mark.parametrize("file", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_jobs_write_no_key_without_effect(file: Path) -> None:
    assert ignored_settings(load_job(file)) == ()


def test_a_resolved_job_that_writes_every_key_is_warned_of_no_more_than_its_file(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    cosine = load_job(None, ["train.schedule=cosine", "train.decay=0.1"])
    file.write_text(json.dumps(cosine.model_dump(mode="json")))
    assert ignored_settings(load_job(file)) == ignored_settings(cosine) == ()

"""Loading a job: overrides, all faults together, near keys and values, hash, schema."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from runner.config.cluster import Cluster, load_cluster
from runner.config.job import Job, Lora
from runner.config.keys import FOREIGN_NAMES, known_keys
from runner.config.load import demo_file, job_hash, load_job, schema
from runner.errors import JobFileError


def faults_of(file: Path | None, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(JobFileError) as caught:
        load_job(file, overrides)
    return caught.value.faults


def fault_of(*overrides: str) -> str:
    (fault,) = faults_of(None, *overrides)
    return fault


def test_without_a_file_the_demo_is_loaded() -> None:
    job = load_job(None)
    assert job == load_job(demo_file())
    assert (job.name, job.method) == ("demo", "qlora")


def test_overrides_are_typed_as_in_a_file() -> None:
    job = load_job(None, ["train.learning_rate=1e-4", "lora.targets=[q_proj, v_proj]", "model.revision=no", "track=[]"])
    assert job.train.learning_rate == 1e-4
    assert job.lora is not None
    assert job.lora.targets == ("q_proj", "v_proj")
    assert job.model.revision == "no"
    assert job.track == ()


def test_an_override_can_remove_and_make_a_section(tmp_path: Path) -> None:
    assert load_job(None, ["lora=null", "model.quantization=none"]).lora is None
    file = tmp_path / "job.yaml"
    file.write_text("lora: null\nmodel: {quantization: none}\n")
    assert load_job(file, ["lora.rank=8"]).lora == Lora(rank=8)
    assert load_job(file, ["lora={rank: 4, alpha: 8}"]).lora == Lora(rank=4, alpha=8.0)


def test_the_last_override_of_a_key_wins() -> None:
    assert load_job(None, ["train.steps=5", "train.steps=7"]).train.steps == 7


def test_all_faults_of_a_file_and_its_overrides_are_told_together(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "nmae: x\nlora:\n  rank: 0\n  targets: [q_proj, 3]\ntrain:\n  learning_rate: 3.0\n  steps: 1\n  steps: 2\n"
        "  warmup: 0.9\n  decay: 0.5\nvalidation: {every: '10'}\n"
    )
    faults = faults_of(file, "data.seed=-1", "foo", "lora.alpha={")
    expected = [
        f"{file}:8: train.steps stands on lines 7 and 8",
        "-o 'foo': is not section.key=value",
        "-o lora.alpha",
        f"{file}:1: nmae is no known key; did you mean name?",
        f"{file}:3: lora.rank is 0; it must be a whole number from 1 to 1,024",
        f"{file}:4: lora.targets[1] is 3; it must be text",
        f"{file}:6: train.learning_rate is 3.0; it must be a number above 0 and below 0.1; did you mean 3e-4?",
        f'{file}:11: validation.every is "10"; it must be a whole number of at least 1; did you mean 10?',
        "-o data.seed: data.seed is -1; it must be a whole number of at least 0 and below 2,147,483,648",
        f"{file}:9: train.warmup 0.9 and train.decay 0.5 overlap",
    ]
    for part in expected:
        assert sum(part in fault for fault in faults) == 1, (part, faults)


def test_a_fault_between_keys_is_not_told_of_a_key_that_is_itself_wrong() -> None:
    faults = faults_of(None, "data.max_length=3", "train.tokens_per_step=1000")
    assert len(faults) == 1
    assert "data.max_length is 3;" in faults[0]


def test_a_fault_between_keys_stands_where_the_first_of_them_is_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: a\ndata:\n  max_length: 1000\n")
    assert faults_of(file) == (
        f"{file}:3: train.tokens_per_step is 16384; it must be a multiple of data.max_length (1000)",
    )
    assert faults_of(None, "lora=null")[0].startswith("-o lora: lora is null and model.quantization is nf4")


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("learning_rate", "train.learning_rate"),
        ("train.learnign_rate", "train.learning_rate"),
        ("training.learning_rate", "train"),
        ("lr", "train.learning_rate"),
        ("train.lr", "train.learning_rate"),
        ("lora.r", "lora.rank"),
        ("lora.lora_alpha", "lora.alpha"),
        ("optimizer", "train.optimizer"),
        ("data.max_seq_length", "data.max_length"),
        ("data.column.prompt", "data.columns"),
        ("lrate", "train.learning_rate"),
        ("train.lrate", "train.learning_rate"),
        ("learning-rate", "train.learning_rate"),
        ("train.learning-rate", "train.learning_rate"),
        ("train.weight-decay", "train.weight_decay"),
        ("Train.Steps", "train"),
        ("train.Steps", "train.steps"),
        ("lora_rank", "lora.rank"),
        ("lora_r", "lora.rank"),
        ("r", "lora.rank"),
        ("lora_alpha", "lora.alpha"),
        ("epochs", "train.steps"),
        ("max_steps", "train.steps"),
        ("step", "train.steps"),
        ("train.save_steps", "checkpoint.every"),
        ("max_seq_length", "data.max_length"),
        ("warmup_ratio", "train.warmup"),
        ("train.warmup_steps", "train.warmup"),
        ("lr_scheduler_type", "train.schedule"),
        ("train.scheduler", "train.schedule"),
        ("model.name", "model.id"),
        ("data.name", "data.id"),
        ("data.train_split", "data.split"),
        ("validation.steps", "validation.every"),
        ("checkpoint.steps", "checkpoint.every"),
        ("train.stratgy", "train.strategy"),
        ("train.rate", None),
        ("train.precision", None),
        ("train.gradient_accumulation_steps", None),
        ("gradient_checkpointing", None),
        ("batch_size", None),
        ("train.batch_size", None),
        ("xyzzy", None),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(written: str, near: str | None) -> None:
    fault = fault_of(f"{written}=1")
    assert "no known key" in fault
    assert fault.endswith(f"did you mean {near}?") if near else "did you mean" not in fault


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("train.steps: 3", "train.steps is written as one key; write steps under train:"),
        (
            "data: {columns.prompt: q}",
            "data.columns.prompt is written as one key; write prompt under columns: under data:",
        ),
        ("train.lrate: 3", "train.lrate is no known key; did you mean train.learning_rate?"),
        ("lr: 3", "lr is no known key; did you mean train.learning_rate?"),
        ("train: {lrate: 3}", "train.lrate is no known key; did you mean train.learning_rate?"),
    ],
)
def test_a_wrong_key_of_a_file_is_answered_with_what_to_write(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{line}\n")
    assert faults_of(file) == (f"{file}:1: {told}",)


def test_an_unknown_key_without_a_near_one_names_those_of_its_section() -> None:
    assert ": train.batch_size is no known key; train has tokens_per_step, micro_batch, steps," in (
        fault_of("train.batch_size=8")
    )


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("train.learning_rate=30", "3e-4"),
        ("train.learning_rate='1e-4'", "1e-4"),
        ("train.warmup=3", "0.03"),
        ("lora.dropout=5", "0.05"),
        ("lora.rank=16x", "16"),
        ("lora.rank=-4", "4"),
        ("lora.rank=8.0", "8"),
        ("data.questions=10_000", "10000"),
        ("data.questions=10k", "10000"),
        ("model.quantization=NF4", "nf4"),
        ("data.format=open_code_reasoning", "open-code-reasoning"),
        ("track=wandb", "[wandb]"),
        ("lora.targets=q_proj", "[q_proj]"),
    ],
)
def test_a_value_out_of_range_names_the_one_meant(override: str, meant: str) -> None:
    assert fault_of(override).endswith(f"did you mean {meant}?")


@pytest.mark.parametrize(
    "override", ["lora.rank=0", "lora.rank=1.5", "train.learning_rate=fast", "train.learning_rate=.nan", "track=3"]
)
def test_no_value_is_suggested_where_none_is_near(override: str) -> None:
    assert "did you mean" not in fault_of(override)


def test_every_suggestion_for_a_foreign_name_exists() -> None:
    assert set(FOREIGN_NAMES.values()) <= set(known_keys(Job))


def test_the_hash_depends_on_values_and_not_on_how_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("lora: {alpha: 32}\nname: demo\n")
    assert job_hash(load_job(file)) == job_hash(Job())
    assert job_hash(load_job(file, ["train.seed=18"])) != job_hash(Job())
    script = "from runner.config.job import Job; from runner.config.load import job_hash; print(job_hash(Job()))"
    again = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert again.strip() == job_hash(Job())


def test_a_resolved_job_runs_again_from_its_own_file(tmp_path: Path) -> None:
    job = load_job(None, ["lora.targets=[q_proj]", "train.learning_rate=1e-5", "data.split=train[600:974]"])
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job.model_dump(mode="json")))
    assert load_job(file) == job


def test_the_schema_accepts_jobs_and_refuses_what_loading_refuses() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    assert not list(validator.iter_errors(Job().model_dump(mode="json")))
    assert list(validator.iter_errors({"lora": {"rank": 0}}))
    assert list(validator.iter_errors({"nmae": "x"}))
    assert all("description" in node for key, node in known_keys(Job).items() if "." in key)


def test_a_cluster_profile_takes_the_command_lines_options() -> None:
    assert load_cluster(None) == Cluster()
    assert load_cluster(None, {"workers": 3, "storage": "/shared/a: b"}).storage == "/shared/a: b"
    assert load_cluster(None, {"storage": "s3://b/r"}).storage == "s3://b/r"


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("http://b/r", "it must be a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"),
        ("s3://key:canary@b/r", "credentials and endpoint belong in the environment"),
        ("s3://b/r?endpoint_override=canary", "credentials and endpoint belong in the environment"),
        ("s3:///r", "it must be s3://BUCKET/PREFIX of letters"),
        ("gs://b/../r", "it must be gs://BUCKET/PREFIX of letters"),
        ("gs://b/a b", "it must be gs://BUCKET/PREFIX of letters"),
    ],
)
def test_a_url_that_names_no_place_in_a_bucket_is_refused(storage: str, told: str) -> None:
    with pytest.raises(JobFileError, match="--storage: ") as refused:
        load_cluster(None, {"storage": storage})
    assert told in str(refused.value)
    assert "canary" not in str(refused.value)


def test_errors_survive_pickling() -> None:
    import pickle

    error = JobFileError("a.yaml", ("one", "two"))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.faults) == (str(error), error.faults)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("train.strategy=zero3",), "train.strategy is zero3 and model.quantization is nf4"),
        (("train.strategy=zero2", "train.kernels=fused"), "train.strategy is zero2 and train.kernels is fused"),
        (
            ("train.strategy=zero3", "model.quantization=none", "train.kernels=compiled"),
            "train.strategy is zero3 and train.kernels is compiled",
        ),
        (
            ("train.strategy=zero3", "model.quantization=none", "evaluation.questions=4"),
            "train.strategy is zero3 and evaluation.questions is 4",
        ),
    ],
)
def test_what_a_strategy_cannot_share_out_is_refused(overrides: tuple[str, ...], told: str) -> None:
    fault = fault_of("evaluation.questions=0", *overrides)
    assert told in fault
    assert "set " in fault


def test_a_job_keeps_its_hash_under_another_strategy() -> None:
    plain = load_job(None, ["model.quantization=none"])
    assert job_hash(load_job(None, ["model.quantization=none", "train.strategy=zero2"])) == job_hash(plain)
    assert job_hash(load_job(None, ["model.quantization=none", "train.clip=0.5"])) != job_hash(plain)

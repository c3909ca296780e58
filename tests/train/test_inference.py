"""A run's weights loaded to answer with: the numbers of training, the base beside them, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from finished_run import STEPS, full_job, small_job
from greedy import greedy
from runner.config.job import Job
from runner.data.template import prompt_text
from runner.errors import UserError
from runner.model.adapter import causal_lm
from runner.model.attention import padded_attention
from runner.model.base import load_base
from runner.runs import RunFolder, read_metrics
from runner.train.assembly import load_data
from runner.train.inference import as_trained, load_for_inference
from runner.train.step import validation_losses
from runner.train.world import World

CPU = torch.device("cpu")


def losses_in(folder: RunFolder) -> list[float]:
    return [float(str(r["loss"])) for r in read_metrics(folder.metrics_file) if r["kind"] == "validation"]


def held_out_loss(model: torch.nn.Module, job: Job, cache: Path) -> float:
    _, data = load_data(job, cache=cache)
    return validation_losses(model, data.validation, World(device=CPU), rows=2).loss


def logits(model: torch.nn.Module) -> Tensor:
    ids = torch.arange(12)[None] + 40
    with torch.no_grad():
        result: Tensor = model(input_ids=ids).logits
    return result


def test_loaded_weights_have_the_losses_of_training_and_the_base_those_before(
    small_run: RunFolder, cache: Path
) -> None:
    job = small_job()
    loaded = load_for_inference(job, small_run, "final", CPU)
    before, after = losses_in(small_run)[0], losses_in(small_run)[-1]
    assert after < before - 0.1
    assert held_out_loss(loaded.model, job, cache) == pytest.approx(after, abs=1e-6)
    with loaded.base() as base:
        assert held_out_loss(base, job, cache) == pytest.approx(before, abs=1e-6)
    assert held_out_loss(loaded.model, job, cache) == pytest.approx(after, abs=1e-6)
    assert loaded.step == STEPS
    assert not loaded.model.training


def test_a_fully_trained_model_stands_beside_its_base(full_run: RunFolder, cache: Path) -> None:
    job, folder = full_job(), full_run
    loaded = load_for_inference(job, folder, "final", CPU)
    assert held_out_loss(loaded.model, job, cache) == pytest.approx(losses_in(folder)[-1], abs=1e-6)
    with loaded.base() as base:
        assert held_out_loss(base, job, cache) == pytest.approx(losses_in(folder)[0], abs=1e-6)
        untouched = load_base(job.model, CPU, residency="dequantized", seed=0)
        assert torch.equal(logits(base), logits(untouched))


def test_a_loaded_model_answers(small_run: RunFolder) -> None:
    loaded = load_for_inference(small_job(), small_run, "best", CPU)
    prompts = [prompt_text("Write solve(words) that reverses a list."), "# reverse"]
    with padded_attention(causal_lm(loaded.model)):
        answers = greedy(loaded.model, loaded.encoder, prompts, max_new_tokens=8)
        with loaded.base() as base:
            others = greedy(base, loaded.encoder, prompts, max_new_tokens=8)
    assert len(answers) == len(others) == 2
    assert answers != others


def test_missing_weights_are_told_with_what_there_is(small_run: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(small_run.root, tmp_path / "small"))
    shutil.rmtree(folder.final)
    with pytest.raises(UserError) as raised:
        load_for_inference(small_job(), folder, "final", CPU)
    told = str(raised.value)
    assert "has no final weights" in told
    assert "best weights of step 8 and checkpoints of step 4, 8" in told
    assert "--weights best" in told
    assert f"runner train {folder.job_file} --storage {tmp_path} --resume must" in told


def test_damaged_weights_are_refused(small_run: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(small_run.root, tmp_path / "small"))
    file = folder.final / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors differs from its checksum"):
        load_for_inference(small_job(), folder, "final", CPU)


def test_an_adapter_of_another_base_is_refused_with_both_names(small_run: RunFolder, tmp_path: Path) -> None:
    base = shutil.copytree(Path("src/runner/model/tiny"), tmp_path / "other")
    with pytest.raises(UserError) as raised:
        load_for_inference(small_job(model__id=str(base)), small_run, "final", CPU)
    assert "builtin:tiny-starcoder2" in str(raised.value)
    assert str(base) in str(raised.value)


def test_the_commit_that_was_trained_on_is_loaded_again(small_run: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder.environment_file.write_text(json.dumps({"fingerprints": {"model": commit}}))
    assert as_trained(small_job(model__revision="main"), folder).model.revision == commit
    assert as_trained(small_job(), small_run) == small_job()


def test_the_base_of_a_full_model_is_loaded_once(full_run: RunFolder) -> None:
    job, folder = full_job(), full_run
    loaded = load_for_inference(job, folder, "best", CPU)
    with loaded.base() as first, loaded.base() as second:
        assert first is second

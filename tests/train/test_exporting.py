"""The forms of a run's weights: their losses by another way, their folders, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from finished_run import STEPS, finished_run, full_job, small_job
from runner.data import PreparedData
from runner.errors import DoesNotFit, UserError
from runner.model.base import load_base
from runner.runs import RunFolder, read_metrics, verified
from runner.train.assembly import load_data
from runner.train.exporting import (
    Subject,
    base_licence,
    check_form,
    form_bytes,
    holds_form,
    is_export,
    measure_forms,
    origin_of,
    write_form,
)
from runner.train.step import validation_losses
from runner.train.world import World

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subject(small_run: RunFolder) -> Subject:
    return Subject(small_job(), small_run, "final", torch.bfloat16, CPU)


@pytest.fixture(scope="module")
def full(full_run: RunFolder) -> Subject:
    return Subject(full_job(), full_run, "final", torch.bfloat16, CPU)


@pytest.fixture(scope="module")
def data(cache: Path) -> PreparedData:
    return load_data(small_job(), cache=cache)[1]


def loss_of(model: Any, data: PreparedData) -> float:
    return validation_losses(model.eval(), data.validation, World(device=CPU), rows=1).loss


def loss_of_folder(folder: Path, data: PreparedData) -> float:
    """By plain transformers, in float32 as everything on a CPU."""
    return loss_of(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), data)


def recorded_loss(folder: RunFolder) -> float:
    return [float(str(r["loss"])) for r in read_metrics(folder.metrics_file) if r["kind"] == "validation"][-1]


def test_the_losses_of_the_forms_are_those_of_their_folders(
    subject: Subject, data: PreparedData, tmp_path: Path
) -> None:
    shown: list[tuple[str, int, int]] = []
    measures = measure_forms(subject, data.validation, show=lambda *step: shown.append(step))
    assert [measure.form for measure in measures] == ["adapter", "merged-nf4", "merged-16bit"]
    assert measures[0].loss == pytest.approx(recorded_loss(subject.folder), abs=1e-6)
    assert shown[-1] == ("measure", 3, 3)
    for measure in measures:
        target = tmp_path / measure.form
        write_form(subject, measure.form, target, card="# card\n")
        weights = [path.stat().st_size for path in target.glob("*.safetensors")]
        assert measure.bytes == pytest.approx(sum(weights), rel=0.02)  # but for the files' headers
        if measure.form != "adapter":
            assert measure.loss == pytest.approx(loss_of_folder(target, data), abs=1e-6)
    assert len({round(measure.loss or 0.0, 6) for measure in measures}) == 3


def test_an_adapter_is_loaded_by_plain_peft_on_the_rounded_base(
    subject: Subject, data: PreparedData, tmp_path: Path
) -> None:
    write_form(subject, "adapter", tmp_path / "adapter", card="# card\n")
    base = load_base(subject.job.model, CPU, residency="dequantized", seed=0)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert loss_of(model, data) == pytest.approx(recorded_loss(subject.folder), abs=1e-6)
    found = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert found == {"MANIFEST.json", "README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert verified(tmp_path / "adapter").step == STEPS


def test_a_16_bit_base_has_two_forms_that_differ_by_one_rounding(cache: Path, tmp_path: Path) -> None:
    job = small_job(model__quantization="none")
    subject = Subject(job, finished_run(job, tmp_path, cache), "final", torch.float32, CPU)
    data = load_data(job, cache=cache)[1]
    adapter, merged = measure_forms(subject, data.validation)
    assert (adapter.form, merged.form) == ("adapter", "merged-16bit")
    assert merged.loss == pytest.approx(adapter.loss, abs=1e-5)
    rounded = measure_forms(replace(subject, dtype=torch.bfloat16), data.validation)[1]
    assert rounded.loss is not None
    assert 1e-6 < abs(rounded.loss - (adapter.loss or 0.0)) < 0.02


def test_a_fully_trained_model_is_exported_as_it_is_saved(full: Subject, data: PreparedData, tmp_path: Path) -> None:
    assert full.forms == ("full", "merged-16bit")
    measures = measure_forms(full, data.validation)
    assert measures[0].loss == pytest.approx(recorded_loss(full.folder), abs=1e-6)
    assert measures[1].bytes * 2 == pytest.approx(measures[0].bytes, rel=0.02)
    write_form(full, "full", tmp_path / "full", card="# card\n")
    assert loss_of_folder(tmp_path / "full", data) == pytest.approx(recorded_loss(full.folder), abs=1e-6)
    assert (tmp_path / "full" / "tokenizer.json").is_file()
    config = json.loads((tmp_path / "full" / "config.json").read_text())
    assert config["use_cache"] is True  # the base's own, and not what training set
    with pytest.raises(UserError, match="has no form adapter: lora is null"):
        check_form(full, "adapter")


@pytest.mark.gpu
@pytest.mark.parametrize("resident", ["dequantized", "nf4"])
def test_a_gpu_gives_every_form_the_loss_of_a_cpu(subject: Subject, data: PreparedData, resident: str) -> None:
    there = replace(subject, device=torch.device("cuda", 0), job=small_job(model__resident=resident))
    for mine, theirs in zip(
        measure_forms(there, data.validation), measure_forms(subject, data.validation), strict=True
    ):
        assert (mine.form, mine.bytes) == (theirs.form, theirs.bytes)
        assert mine.loss == pytest.approx(theirs.loss, abs=0.03)  # 16 bits against float32


def test_a_form_that_the_run_has_not_is_refused(subject: Subject) -> None:
    with pytest.raises(UserError, match="has no form full: it trained an adapter"):
        check_form(subject, "full")
    plain = replace(subject, job=small_job(model__quantization="none"))
    with pytest.raises(UserError, match=r"no form merged-nf4: model\.quantization is none"):
        check_form(plain, "merged-nf4")


def test_an_export_is_known_again_and_other_folders_are_not_exports(subject: Subject, tmp_path: Path) -> None:
    target = tmp_path / "merged"
    assert not is_export(target)
    write_form(subject, "merged-16bit", target, card="# card\n")
    assert is_export(target)
    assert holds_form(subject, "merged-16bit", target)
    assert not holds_form(subject, "merged-nf4", target)
    assert not holds_form(replace(subject, dtype=torch.float32), "merged-16bit", target)
    assert not is_export(subject.folder.final)
    assert not is_export(subject.folder.root)


def test_nothing_is_left_where_the_disk_is_too_small(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DoesNotFit, match=r"the weights take 0\.0 GB"):
        write_form(subject, "merged-16bit", tmp_path / "merged", card="# card\n")
    assert not list(tmp_path.iterdir())


def test_the_sizes_need_no_weights(subject: Subject) -> None:
    parameters = 1_072_896
    assert form_bytes(subject, "merged-16bit") == 2 * parameters
    assert form_bytes(replace(subject, dtype=torch.float32), "merged-nf4") == 4 * parameters


def test_licences_are_read_where_they_are_stated(subject: Subject, tmp_path: Path) -> None:
    model = subject.job.model
    assert base_licence(model) == "apache-2.0"
    assert base_licence(model.model_copy(update={"id": "bigcode/starcoder2-15b"})) == "bigcode-openrail-m"
    (tmp_path / "config.json").write_text("{}")
    here = model.model_copy(update={"id": str(tmp_path)})
    assert base_licence(here) == ""
    (tmp_path / "README.md").write_text("---\ntags: [a]\nlicense: mit\n---\nlicense: other\n")
    assert base_licence(here) == "mit"
    origin = origin_of(replace(subject, job=small_job(model__id=str(tmp_path))), {"mit": 3})
    assert (origin.base_on_hub, origin.data_on_hub, origin.licence) == (False, False, "mit")

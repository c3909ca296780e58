"""The plan's numbers and its text."""

from pathlib import Path

import pytest

from runner.config.load import load_job
from runner.data import prepare
from runner.model.tokenizer import load_encoder
from runner.plan import Device, Plan, Timing, hours, make_plan, read_geometry, render, settle


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    job = load_job(None, ["data.questions=300", "train.steps=50", "validation.every=20"])
    device = Device("cpu", "a CPU", 8.0)
    prepared = prepare(job.data, load_encoder(job.model), cache=tmp_path_factory.mktemp("cache"))
    geometry = read_geometry(job)
    return make_plan(job, prepared, geometry, device, settle(job, geometry, device, ranks=1), 1)


def test_steps_tokens_and_epochs_follow_from_the_packed_data(plan: Plan) -> None:
    assert plan.documents == 300
    assert plan.epochs == pytest.approx(50 * 8 / plan.buffers)
    assert plan.validations == 1 + 3  # before the first step, after 20, 40 and 50
    assert plan.checkpoint_bytes == 12 * plan.geometry.trainable


def test_hours_add_start_steps_and_validations(plan: Plan) -> None:
    timing = Timing(step_s=2.0, validation_s=5.0, start_s=6.0, steps=11, peak_gib=1.0)
    assert hours(plan, timing) * 3600 == pytest.approx(14 + 6 + 50 * 2 + 4 * 5)


def test_the_text_tells_each_number_with_its_formula(plan: Plan) -> None:
    text = render(plan, None)
    assert "8 buffers x 256 = 2,048" in text
    assert f"trainable      {plan.geometry.trainable:,} of" in text
    assert "time: not measured" in text


def test_a_probe_measures_real_steps(tmp_path: Path) -> None:
    from runner.train.probe import probe

    job = load_job(None, ["data.questions=100", "train.tokens_per_step=512"])
    timing = probe(job, cache=tmp_path)
    assert timing.step_s > 0.0
    assert timing.validation_s > 0.0
    assert timing.peak_gib > 0.1

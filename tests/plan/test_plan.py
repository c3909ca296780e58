"""The plan's numbers and its text."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runner.config.load import load_job
from runner.data import prepare
from runner.model.tokenizer import load_encoder
from runner.plan import Device, Plan, Timing, hours, make_plan, read_geometry, render, settle
from runner.plan.plan import RAY_END_S, RAY_START_S


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


TIMING = Timing(step_s=2.0, validation_s=5.0, start_s=6.0, counts=3, count_s=7.0, steps=11, peak_gib=1.0)


def test_hours_add_start_end_steps_validations_and_counts(plan: Plan) -> None:
    assert hours(plan, TIMING) * 3600 == pytest.approx(RAY_START_S + 6 + RAY_END_S + 50 * 2 + 4 * 5 + 3 * 7)


def test_the_time_is_shown_as_the_sum_of_its_terms(plan: Plan) -> None:
    shown = render(plan, TIMING).splitlines()[-1]
    outside = RAY_START_S + 6 + RAY_END_S
    assert f"start and end {outside:.0f} s + 50 steps x 2.000 s + 4 validations x 5.00 s" in shown
    assert " + 3 counts of solved questions x 7.00 s" in shown
    assert "counts" not in render(plan, replace(TIMING, counts=0, count_s=0.0))


def test_the_text_tells_each_number_with_its_formula(plan: Plan) -> None:
    text = render(plan, None)
    assert "8 buffers x 256 = 2,048" in text
    assert f"trainable      {plan.geometry.trainable:,} of" in text
    assert "time: not measured" in text


PROBED = ["data.questions=100", "train.tokens_per_step=512", "evaluation.max_new_tokens=4"]


def test_a_probe_measures_real_steps_and_counts(tmp_path: Path) -> None:
    from runner.train.probe import probe

    timing = probe(load_job(None, [*PROBED, "evaluation.questions=4"]), cache=tmp_path)
    assert timing.step_s > 0.0
    assert timing.validation_s > 0.0
    assert timing.peak_gib > 0.1
    assert timing.counts == 3  # before in two formats, after in one
    assert timing.count_s > 0.0


def test_a_probe_counts_one_batch_for_all_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.train import probe as probing

    batches: list[int] = []

    def counted(_model: object, _encoder: object, ids: Sequence[str], **_: object) -> None:
        batches.append(len(ids))
        time.sleep(0.1)

    monkeypatch.setattr(probing, "count_passes", counted)
    monkeypatch.setattr(probing, "QUESTIONS", 5)
    timing = probing.probe(load_job(None, [*PROBED, "evaluation.questions=20"]), cache=tmp_path)
    assert batches == [5]
    assert 0.4 <= timing.count_s < 2.0
    timing = probing.probe(load_job(None, [*PROBED, "evaluation.questions=0"]), cache=tmp_path)
    assert (batches, timing.counts, timing.count_s) == ([5], 0, 0.0)


def test_a_probe_executes_another_models_programs_in_a_sandbox_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.train import passes
    from runner.train import probe as probing

    made: list[tuple[str, ...]] = []

    def counted(_model: object, _encoder: object, ids: tuple[str, ...], **_: object) -> None:
        made.append(ids)

    monkeypatch.setattr(probing, "count_passes", counted)
    monkeypatch.setattr(passes, "EMBEDDED", {})  # the embedded model is now one that nobody knows
    monkeypatch.setattr(passes, "sandbox_works", lambda: "bubblewrap (bwrap) is not installed")
    job = load_job(None, [*PROBED, "evaluation.questions=4"])
    timing = probing.probe(job, cache=tmp_path)
    assert (made, timing.counts, timing.count_s) == ([], 0, 0.0)
    monkeypatch.setattr(passes, "sandbox_works", lambda: None)
    assert probing.probe(job, cache=tmp_path).counts == 3
    assert len(made) == 1

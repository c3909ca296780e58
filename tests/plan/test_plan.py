"""The plan's numbers and its text."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runner.config.cluster import Cluster
from runner.config.load import load_job
from runner.data import prepare
from runner.errors import DoesNotFit
from runner.model.tokenizer import load_encoder
from runner.plan import Device, Plan, Timing, hours, make_plan, read_geometry, render, settle
from runner.plan.plan import RAY_END_S, RAY_START_IMPORTS, RAY_START_S
from runner.train.batches import MicroBatch, StepBatch


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


TIMING = Timing(step_s=2.0, validation_s=5.0, imports_s=2.0, start_s=6.0, counts=3, count_s=7.0, steps=11, peak_gib=1.0)


def test_hours_add_start_end_steps_validations_and_counts(plan: Plan) -> None:
    assert hours(plan, TIMING) * 3600 == pytest.approx(
        RAY_START_S + RAY_START_IMPORTS * 2 + 6 + RAY_END_S + 50 * 2 + 4 * 5 + 3 * 7
    )


def test_the_time_is_shown_as_the_sum_of_its_terms(plan: Plan) -> None:
    shown = render(plan, TIMING).splitlines()[-1]
    outside = RAY_START_S + RAY_START_IMPORTS * 2 + 6 + RAY_END_S
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

    timing = probe(
        load_job(None, [*PROBED, "evaluation.questions=4"]), ranks=1, threads=1, cache=tmp_path, imports_s=2.0
    )
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
    timing = probing.probe(
        load_job(None, [*PROBED, "evaluation.questions=20"]), ranks=1, threads=1, cache=tmp_path, imports_s=2.0
    )
    assert batches == [5]
    assert 0.4 <= timing.count_s < 2.0
    timing = probing.probe(
        load_job(None, [*PROBED, "evaluation.questions=0"]), ranks=1, threads=1, cache=tmp_path, imports_s=2.0
    )
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
    timing = probing.probe(job, ranks=1, threads=1, cache=tmp_path, imports_s=2.0)
    assert (made, timing.counts, timing.count_s) == ([], 0, 0.0)
    monkeypatch.setattr(passes, "sandbox_works", lambda: None)
    assert probing.probe(job, ranks=1, threads=1, cache=tmp_path, imports_s=2.0).counts == 3
    assert len(made) == 1


def test_a_probe_of_several_workers_takes_the_share_of_one_with_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from runner.train import probe as probing

    passes: list[int] = []
    measured: list[int] = []
    before = torch.get_num_threads()

    def step(_engine: object, _optimizer: object, batch: StepBatch, _world: object, **_: object) -> torch.Tensor:
        assert torch.get_num_threads() == 3
        passes.append(len(list(batch.micro_batches)))
        return torch.zeros(1)

    def losses(_engine: object, batches: Sequence[MicroBatch], _device: object) -> torch.Tensor:
        measured.append(len(batches))
        time.sleep(0.05)
        return torch.zeros(1)

    monkeypatch.setattr(probing, "train_step", step)
    monkeypatch.setattr(probing, "summed_losses", losses)
    monkeypatch.setattr(probing, "VALIDATION_PASSES", 2)
    changes = ["train.tokens_per_step=1024", "train.micro_batch=1", "evaluation.questions=0"]
    validations = []
    for ranks, share in ((1, 4), (3, 2), (4, 1)):
        passes.clear()
        timing = probing.probe(
            load_job(None, [*PROBED, *changes]), ranks=ranks, threads=3, cache=tmp_path, imports_s=2.0
        )
        assert set(passes) == {share}
        validations.append(timing.validation_s)
    assert validations[0] > 1.5 * validations[1] > 1.5 * validations[2] > 0.0
    assert set(measured) == {1}
    assert torch.get_num_threads() == before


def test_time_is_told_as_one_workers_and_not_told_where_one_cannot_step_alone(plan: Plan) -> None:
    assert render(plan, TIMING).endswith("tokens/s, measured here)")
    several = replace(plan, workers=4)
    assert render(several, TIMING).endswith("tokens/s, one worker measured here, without the sums over workers)")
    train = plan.job.train.model_copy(update={"strategy": "zero3"})
    sharing = replace(several, job=plan.job.model_copy(update={"train": train}))
    assert (several.measurable, sharing.measurable, replace(sharing, workers=1).measurable) == (True, False, True)
    assert render(sharing, None).endswith(
        "time: not measured (with train.strategy zero3 a worker takes no step without the others)"
    )


def test_a_job_that_the_cpu_here_has_no_room_for_is_refused_but_not_for_a_cluster_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.cli import plan as command

    monkeypatch.setattr("runner.plan.present_device", lambda: Device("cpu", "a CPU", 0.5))
    job = load_job(None, ["data.questions=100"])
    with pytest.raises(DoesNotFit, match=r"needs at least 0\.\d GiB and a CPU has 0\.5 GiB free"):
        command.show_plan(job, Cluster(), measure=True)
    assert capsys.readouterr().out == ""
    command.show_plan(job, Cluster(address="a:6379"), measure=False)
    assert "on a CPU (whose memory is not that of the cluster)" in capsys.readouterr().out


def test_the_command_measures_one_workers_share_and_nothing_of_workers_that_share_the_base(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runner.cli import plan as command
    from runner.train import probe as probing

    asked: list[tuple[int, int]] = []

    def probed(_job: object, *, ranks: int, threads: int, cache: Path, imports_s: float) -> Timing:
        assert cache.is_absolute()
        assert imports_s > 0.0
        asked.append((ranks, threads))
        return TIMING

    monkeypatch.setattr(probing, "probe", probed)
    monkeypatch.setattr(command, "usable_cores", lambda: 8)
    job = load_job(None, ["data.questions=100", "model.quantization=none"])
    for cluster in (Cluster(workers=4), Cluster(workers=4, cpus_per_worker=1), Cluster(workers=4, address="a:6379")):
        command.show_plan(job, cluster, measure=True)
    assert asked == [(4, 2), (4, 1), (4, 8)]
    sharing = load_job(
        None, ["data.questions=100", "model.quantization=none", "train.strategy=zero3", "evaluation.questions=0"]
    )
    command.show_plan(sharing, Cluster(workers=4), measure=True)
    assert len(asked) == 3
    assert "time: not measured (with train.strategy zero3" in capsys.readouterr().out

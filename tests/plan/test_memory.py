"""The memory formula against measurements, and the choices that follow from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from runner.config.job import Data, Job, Lora, Model, Train
from runner.errors import DoesNotFit, UserError
from runner.model.fused import Kept
from runner.plan import Device, Form, Geometry, predict_memory, settle

H, M, K, LAYERS, VOCABULARY = 3072, 12288, 256, 30, 49152
LINEAR = LAYERS * (2 * H * H + 2 * H * K + 2 * H * M)
STARCODER2_3B = Geometry(
    layers=LAYERS,
    hidden=H,
    heads_width=H,
    vocabulary=VOCABULARY,
    linear=LINEAR,
    other=3_030_371_328 - LINEAR,
    trainable=23_838_720,
    layer_linear=LINEAR // LAYERS,
    saved=2 * M + 6 * H + 2 * K,
    positions=16384,
    key_width=K,
    rise=M,
    fall=M,
    why_not_fused=None,
)
ALL: Kept = "all"
JOB = Job(data=Data(max_length=4096), train=Train(tokens_per_step=16384))


@pytest.mark.parametrize(
    ("form", "measured_gib"),
    [
        # peak of torch's allocator over 12 steps on an H200, torch 2.11, transformers 5.17
        (Form("dequantized", 1, 0.5), 12.74),
        (Form("dequantized", 2, 0.5), 18.70),
        (Form("dequantized", 2, 0.3), 14.63),
        (Form("dequantized", 4, 0.3), 23.12),
        (Form("dequantized", 2, 1.0), 29.49),
        (Form("nf4", 2, None), 4.65),
        (Form("dequantized", 2, None), 8.63),
        (Form("dequantized", 2, 1.0, (ALL,) * LAYERS), 18.44),
    ],
)
def test_predicted_peak_is_within_three_percent_of_measured(form: Form, measured_gib: float) -> None:
    assert predict_memory(JOB, STARCODER2_3B, form, "cuda").total_gib == pytest.approx(measured_gib, rel=0.03)


SMOLLM2 = Geometry(
    layers=30,
    hidden=576,
    heads_width=576,
    vocabulary=49152,
    linear=30 * 3_538_944,
    other=134_515_008 - 30 * 3_538_944,
    trainable=4_884_480,
    layer_linear=3_538_944,
    saved=8448,
    positions=8192,
    key_width=192,
    rise=3072,
    fall=1536,
    why_not_fused=None,
)


@pytest.mark.parametrize(("rows", "measured_gib"), [(1, 2.40), (2, 3.57), (4, 6.10)])
def test_predicted_peak_on_a_cpu_is_within_a_tenth_of_measured(rows: int, measured_gib: float) -> None:
    """The most that a process of jobs/mbpp-smollm2.yaml had in memory over two steps, torch 2.13, transformers 5.24."""
    job = Job(data=Data(max_length=512), train=Train(tokens_per_step=2048))
    form = Form("dequantized", rows, 1.0)
    assert predict_memory(job, SMOLLM2, form, "cpu").total_gib == pytest.approx(measured_gib, rel=0.1)


def processor(gib: float) -> Device:
    return Device("cpu", "a CPU", gib)


def test_a_cpu_takes_a_step_in_one_pass_or_in_as_few_as_there_is_room_for() -> None:
    job = Job(data=Data(max_length=512), train=Train(tokens_per_step=2048))
    assert [settle(job, SMOLLM2, processor(gib), ranks=1).micro_batch for gib in (8.0, 4.5, 3.0)] == [4, 2, 1]
    long = Job(data=Data(max_length=2048), train=Train(tokens_per_step=2048))
    with pytest.raises(DoesNotFit, match=r"at least 5.\d GiB and a CPU has 4.5 GiB free.*turn data.max_length"):
        settle(long, SMOLLM2, processor(4.5), ranks=1)
    named = job.model_copy(update={"train": Train(tokens_per_step=2048, micro_batch=4)})
    with pytest.raises(DoesNotFit, match=r"at least 5.\d GiB.*turn train.micro_batch \(auto takes what fits\)"):
        settle(named, SMOLLM2, processor(4.5), ranks=1)
    with pytest.raises(DoesNotFit, match=r"turn model.id \(a smaller model\)"):
        settle(job.model_copy(update={"model": Model(quantization="none")}), STARCODER2_3B, processor(8.0), ranks=1)


def card(gib: float) -> Device:
    return Device("cuda", "a card", gib)


def test_a_24_gb_card_keeps_the_base_dequantized_and_all_that_written_out_layers_need() -> None:
    settings = settle(JOB, STARCODER2_3B, card(22.5), ranks=1)
    assert (settings.residency, settings.micro_batch, settings.compiled) == ("dequantized", 2, False)
    assert settings.fused == ("all",) * LAYERS
    kept = settle(JOB, STARCODER2_3B, card(18.0), ranks=1).fused
    assert set(kept) == {"all", "attention"}


def test_layers_that_cannot_be_written_out_are_compiled() -> None:
    geometry = replace(STARCODER2_3B, why_not_fused="gemma2 is none of starcoder2")
    settings = settle(JOB, geometry, card(22.5), ranks=1)
    assert (settings.residency, settings.micro_batch, settings.activation_budget) == ("dequantized", 2, 0.5)
    assert settings.compiled


def test_less_memory_takes_less_speed_first_and_then_four_bits() -> None:
    peaks = []
    for gib in (22.5, 16.0, 12.0, 9.0, 6.0):
        settings = settle(JOB, STARCODER2_3B, card(gib), ranks=1)
        peaks.append(predict_memory(JOB, STARCODER2_3B, settings.form, "cuda").total_gib)
        assert peaks[-1] <= gib
    assert peaks == sorted(peaks, reverse=True)
    assert settle(JOB, STARCODER2_3B, card(6.0), ranks=1).residency == "nf4"


def test_what_cannot_fit_names_its_parts_and_the_key_to_turn() -> None:
    with pytest.raises(DoesNotFit, match=r"at least [\d.]+ GiB and a card has 2.0 GiB free.*turn "):
        settle(JOB, STARCODER2_3B, card(2.0), ranks=1)
    lora = JOB.model_copy(update={"model": Model(quantization="none")})
    with pytest.raises(DoesNotFit, match=r"turn model.quantization \(nf4\)"):
        settle(lora, STARCODER2_3B, card(5.0), ranks=1)


def test_named_kernels_are_kept_and_refused_where_they_cannot_be() -> None:
    job = JOB.model_copy(update={"train": Train(kernels="compiled")})
    assert settle(job, STARCODER2_3B, card(22.5), ranks=1).compiled
    job = JOB.model_copy(update={"train": Train(kernels="transformers")})
    assert settle(job, STARCODER2_3B, card(22.5), ranks=1).recompute == "layers"
    job = JOB.model_copy(update={"train": Train(kernels="fused")})
    assert settle(job, STARCODER2_3B, processor(500.0), ranks=1).fused
    with pytest.raises(UserError, match=r"train.kernels is fused.*lora.dropout is not 0.*set train.kernels to auto"):
        settle(job, replace(STARCODER2_3B, why_not_fused="lora.dropout is not 0"), card(22.5), ranks=1)


def test_a_named_residency_is_kept() -> None:
    job = JOB.model_copy(update={"model": Model(resident="nf4")})
    assert settle(job, STARCODER2_3B, card(80.0), ranks=1).residency == "nf4"


def test_more_workers_than_buffers_are_refused() -> None:
    with pytest.raises(UserError, match="5 workers share a step of 4 buffers"):
        settle(JOB, STARCODER2_3B, card(80.0), ranks=5)


@pytest.mark.parametrize("device", [card(80.0), processor(500.0)])
def test_a_buffer_longer_than_the_models_positions_is_refused(device: Device) -> None:
    def job(max_length: int) -> Job:
        model = Model(id="bigcode/starcoder2-3b")
        return Job(model=model, data=Data(max_length=max_length), train=Train(tokens_per_step=max_length))

    with pytest.raises(UserError) as refused:
        settle(job(32768), STARCODER2_3B, device, ranks=1)
    assert str(refused.value) == (
        "data.max_length is 32768 and the model has 16384 positions; "
        "data.max_length / model.id bigcode/starcoder2-3b; lower data.max_length to at most 16384"
    )
    assert settle(job(16384), STARCODER2_3B, device, ranks=1).micro_batch == 1
    assert settle(job(32768), replace(STARCODER2_3B, positions=0), device, ranks=1).micro_batch == 1


def test_the_skeleton_of_the_embedded_base_is_read_without_its_weights() -> None:
    from runner.plan import read_geometry

    job = Job(model=Model(weights="random"), lora=Lora(rank=16))
    geometry = read_geometry(job)
    assert geometry.layers * geometry.layer_linear == geometry.linear
    assert geometry.trainable > 0
    full = read_geometry(Job(model=Model(weights="random", quantization="none"), lora=None))
    assert full.trainable == full.linear + full.other


def test_positions_scaled_by_the_rotary_factor_are_counted_with_it(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    from runner.plan import read_positions

    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "rope_theta": 1e4}
    for scaling, positions in ((None, 128), (yarn, 512)):
        LlamaConfig(max_position_embeddings=128, rope_parameters=scaling).save_pretrained(tmp_path)
        assert read_positions(Model(id=str(tmp_path))) == positions

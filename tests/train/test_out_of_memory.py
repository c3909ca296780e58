"""A step that finds no memory is taken again in smaller passes, with the same loss, or ends with what to turn."""

import gc
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ranks import free_port, run_ranks
from test_loop import Recorder, small_job

from runner.config.job import Job
from runner.errors import DoesNotFit
from runner.model.adapter import causal_lm
from runner.plan import Settings
from runner.plan.device import limit_memory
from runner.runs import RunFolder
from runner.train import assembly
from runner.train.assembly import Run, assemble, batches_of, settled_together
from runner.train.halving import with_smaller_passes
from runner.train.loop import begin, run_steps
from runner.train.loop import train as train_job
from runner.train.records import rows_of
from runner.train.state import Passes, Progress, read_passes
from runner.train.world import World

HUNGRY_FROM = 3
CPU = torch.device("cpu")
GPU = torch.device("cuda")


def job(rows: int) -> Job:
    train = {"tokens_per_step": 1024, "micro_batch": rows, "steps": 4, "learning_rate": 5e-3}
    return small_job(lora__dropout=0.0, train=train, checkpoint__every=4, data__max_length=256)


def begun(job: Job, root: Path, cache: Path, device: torch.device) -> tuple[Run, Recorder]:
    recorder = Recorder()
    root.mkdir(exist_ok=True)
    return assemble(job, RunFolder(root), World(device=device), recorder, cache=cache), recorder


def trained(run: Run) -> None:
    run_steps(*begin(run, Progress.fresh(run.job, run.data.fingerprint)))


def make_hungry(run: Run, recorder: Recorder, *, most: int, training: bool = True) -> None:
    """From a step on, let a pass over more than ``most`` buffers ask for more memory than any machine has."""
    model: Any = causal_lm(run.model)

    def ask(_: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        begun = max(recorder.losses(), default=0) >= HUNGRY_FROM - 1
        if begun and len(arguments[0]) > most and model.training == training:
            torch.empty(2**50, dtype=torch.uint8)

    model.get_decoder().embed_tokens.register_forward_pre_hook(ask)


def validations(recorder: Recorder) -> list[float]:
    return [float(str(record["loss"])) for record in recorder.records if record["kind"] == "validation"]


def told(recorder: Recorder) -> list[str]:
    return [str(record["text"]) for record in recorder.records if record.get("name") == "memory"]


def test_a_step_without_memory_is_taken_again_in_smaller_passes(tmp_path: Path, cache: Path) -> None:
    whole, expected = begun(job(4), tmp_path / "whole", cache, CPU)
    trained(whole)
    hungry, recorder = begun(job(4), tmp_path / "hungry", cache, CPU)
    make_hungry(hungry, recorder, most=1)
    trained(hungry)
    assert list(recorder.losses()) == [1, 2, 3, 4]
    assert recorder.losses() == pytest.approx(expected.losses(), abs=1e-5)
    assert told(recorder) == [
        f"out of memory in step {HUNGRY_FROM} with {rows} buffers in a pass: taken again, and on from here, with {half}"
        for rows, half in ((4, 2), (2, 1))
    ]


def test_a_validation_without_memory_is_taken_again_in_smaller_passes(tmp_path: Path, cache: Path) -> None:
    whole, expected = begun(job(4), tmp_path / "whole", cache, CPU)
    trained(whole)
    hungry, recorder = begun(job(4), tmp_path / "hungry", cache, CPU)
    make_hungry(hungry, recorder, most=2, training=False)
    trained(hungry)
    assert recorder.losses() == pytest.approx(expected.losses(), abs=1e-5)
    assert validations(recorder) == pytest.approx(validations(expected), abs=1e-5)
    assert told(recorder) == [
        "out of memory in the validation after step 4 with 4 buffers in a pass: taken again, and on from here, with 2"
    ]


def test_a_pass_of_one_buffer_without_memory_ends_with_its_rows_and_what_to_turn(tmp_path: Path, cache: Path) -> None:
    hungry, recorder = begun(job(1), tmp_path, cache, CPU)
    make_hungry(hungry, recorder, most=0)
    with pytest.raises(DoesNotFit) as raised:
        trained(hungry)
    told = str(raised.value)
    assert told.startswith("out of memory in step 3 (")
    batch = batches_of(hungry).of_step(3)
    assert f"1 buffers of data.max_length 256 in a pass, {rows_of(hungry.data.train, batch)}; lower data.max_" in told
    first = hungry.data.train.document_ids(batch.packs[0])
    assert first
    assert f"rows {', '.join(first)}, " in told
    assert raised.value.exit_code == 3


@pytest.mark.slow
def test_ranks_of_which_one_has_no_memory_go_on_together_with_the_losses_of_two_that_have(
    tmp_path: Path, cache: Path
) -> None:
    script = str(Path(__file__).with_name("hungry_ranks.py"))
    run_ranks([[sys.executable, script, str(tmp_path), str(cache), free_port()]] * 2)
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert set(first) == {"nothing", "a step", "a validation", "room for all"}
    for missed, found in first.items():
        assert found["rows"] == second[missed]["rows"] == (1 if missed == "room for all" else 2)
        assert found["losses"] == pytest.approx(first["nothing"]["losses"], abs=1e-5), missed
        assert found["validations"] == pytest.approx(first["nothing"]["validations"], abs=1e-5), missed
    again = "with 2 buffers in a pass: taken again, and on from here, with 1"
    assert second["a step"]["told"] == [f"out of memory in step {HUNGRY_FROM} {again}"]
    assert first["a step"]["told"] == ["another worker ran out of memory with 2 buffers in a pass: on from here with 1"]
    for rank in (first, second):
        assert rank["a validation"]["told"] == [f"out of memory in the validation after step 4 {again}"]
        assert rank["nothing"]["told"] == rank["room for all"]["told"] == []


def test_a_run_that_is_gone_on_with_takes_the_passes_that_it_came_to(tmp_path: Path, cache: Path) -> None:
    """Memory is back when it goes on; with larger passes the sums would be others."""
    train = {"tokens_per_step": 1024, "steps": 8, "learning_rate": 5e-3}
    hungry_job = small_job(train=train, checkpoint__every=5, data__max_length=256, validation__every=8)
    for root, stop_before in (("whole", None), ("stopped", 7)):
        run, recorder = begun(hungry_job, tmp_path / root, cache, CPU)
        recorder.stop_before = stop_before
        make_hungry(run, recorder, most=1)
        trained(run)
        assert len(told(recorder)) == 2
    last = sorted((tmp_path / "stopped" / "checkpoints").iterdir())[-1]
    assert read_passes(last) == Passes("cpu", 1, 1)
    expected = weights_after(tmp_path / "whole" / "checkpoints" / "step-000008")
    resumed = Recorder()
    train_job(hungry_job, RunFolder(tmp_path / "stopped"), World(device=CPU), resumed, cache=cache)
    assert list(resumed.losses())[-1] == 8
    assert not told(resumed)
    assert weights_after(tmp_path / "stopped" / "checkpoints" / "step-000008") == expected


def weights_after(checkpoint: Path) -> bytes:
    return (checkpoint / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("passes", "most", "expected"),
    [
        (None, 4, 4),
        (Passes("cpu", 1, 2), 4, 2),
        (Passes("cpu", 1, 4), 2, 4),
        (Passes("cpu", 1, 8), 2, 2),  # no longer fits
        (Passes("cpu", 2, 2), 4, 4),
        (Passes("cuda", 1, 2), 4, 4),
    ],
)
def test_passes_are_those_before_the_checkpoint_where_they_fit_and_ranks_are_as_many(
    passes: Passes | None, most: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"step": 5} if passes is None else {"step": 5, "passes": asdict(passes)}
    (tmp_path / "state.json").write_text(json.dumps(state))
    saves: Any = SimpleNamespace(newest=lambda: (5, ()), path=lambda _: tmp_path)

    def settled(job: Job, *_: object, ranks: int) -> Settings:
        assert ranks == 1
        if job.train.micro_batch == 8:
            raise DoesNotFit("no room")
        rows = most if job.train.micro_batch == "auto" else job.train.micro_batch
        return Settings("dequantized", rows, "none", compiled=False, activation_budget=1.0)

    monkeypatch.setattr(assembly, "settle", settled)
    job = small_job(train={"tokens_per_step": 4096, "steps": 4})
    anything: Any = None
    assert settled_together(job, anything, World(device=CPU), saves).micro_batch == expected


@pytest.mark.parametrize(
    ("strategy", "rows", "turn"),
    [("zero2", 4, "set train.micro_batch to 2 "), ("zero3", 3, "set train.micro_batch to 1 "), ("zero2", 1, "lower ")],
)
def test_ranks_that_pass_together_end_with_the_key_to_turn(
    tmp_path: Path, cache: Path, strategy: str, rows: int, turn: str
) -> None:
    run, _ = begun(job(rows), tmp_path, cache, CPU)
    train = run.job.train.model_copy(update={"strategy": strategy})
    together = replace(run, job=run.job.model_copy(update={"train": train}))
    with pytest.raises(DoesNotFit) as raised:
        with_smaller_passes(together, 3, "the validation after step 3", torch.OutOfMemoryError("no\nmore"))
    assert str(raised.value).startswith(f"out of memory in the validation after step 3 (no); {rows} buffers")
    assert raised.value.remedy.startswith(turn)


def test_another_error_is_not_taken_for_missing_memory(tmp_path: Path, cache: Path) -> None:
    broken, _ = begun(job(4), tmp_path, cache, CPU)

    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    model: Any = causal_lm(broken.model)
    model.get_decoder().embed_tokens.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained(broken)


@pytest.mark.gpu
def test_a_step_on_a_gpu_whose_memory_shrinks_is_taken_again_in_smaller_passes(tmp_path: Path, cache: Path) -> None:
    """The allocator keeps some room of its own, so what is left of the memory shrinks until a pass finds none."""
    whole, expected = begun(job(4), tmp_path / "whole", cache, GPU)
    resting = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    trained(whole)
    needed = torch.cuda.max_memory_allocated() - resting
    del whole
    for part in (0.5, 0.35, 0.25, 0.15, 0.1, 0.05):
        gc.collect()
        torch.cuda.empty_cache()
        squeezed, recorder = begun(job(4), tmp_path / str(part), cache, GPU)
        torch.cuda.empty_cache()
        try:
            limit_memory(GPU, (torch.cuda.memory_reserved() + part * needed) / 2**30)
            trained(squeezed)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        if told(recorder):
            break
        del squeezed
    print(needed, part, told(recorder))
    assert told(recorder)
    for step, loss in expected.losses().items():
        assert float(str(recorder.losses()[step])) == pytest.approx(float(str(loss)), abs=0.03)

"""The main job in small: its losses, its files, its stop and resume."""

import json
import math
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.config.job import Job
from runner.errors import Diverged, UserError
from runner.model.adapter import causal_lm
from runner.runs import JSON, MetricsLog, RunFolder, read_metrics
from runner.runs.manifest import verified
from runner.runs.trackers import open_trackers
from runner.train import loop
from runner.train.assembly import assemble, batches_of
from runner.train.loop import begin, run_steps, train
from runner.train.reporter import FileReporter, SilentReporter
from runner.train.result import Result
from runner.train.schedule import Horizon, Measured
from runner.train.state import Progress, read_state
from runner.train.step import train_step
from runner.train.world import World
from went_on import kept_step, went_on_from

STEPS = 12


def small_job(**changes: Any) -> Job:
    """QLoRA of a random StarCoder2 of 1 M parameters on generated questions, seconds on one core."""
    values: dict[str, Any] = {
        "name": "small",
        "model": {"id": "builtin:tiny-starcoder2", "weights": "random", "quantization": "nf4"},
        "data": {"id": "builtin:questions", "questions": 120, "max_length": 512, "validation_questions": 10},
        "lora": {"rank": 4, "dropout": 0.1},
        "train": {"tokens_per_step": 1024, "micro_batch": 1, "steps": STEPS, "learning_rate": 5e-3},
        "validation": {"every": 4},
        "checkpoint": {"every": 3, "keep": 2},
        "track": (),
    }
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        values[section] = {**values[section], key: value} if key else value
    return Job.model_validate(values)


@dataclass
class Recorder:
    """A reporter that keeps records in memory and asks for a stop before a step."""

    stop_before: int | None = None
    records: list[Mapping[str, JSON]] = field(default_factory=list)

    def record(self, record: Mapping[str, JSON]) -> None:
        self.records.append(record)

    def resumed(self, step: int) -> None:
        self.records.append({"kind": "went on", "step": step})

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        assert verified(checkpoint).step == step
        assert validation_loss is not None

    def stop_requested(self) -> bool:
        return self.stop_before is not None and max(self.losses(), default=0) >= self.stop_before - 1

    def close(self) -> None:
        self.records.append({"kind": "closed"})

    def losses(self) -> dict[int, JSON]:
        return {int(str(r["step"])): r["loss"] for r in self.records if r["kind"] == "train"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run(job: Job, root: Path, cache: Path, *, stop_before: int | None = None) -> tuple[Result, Recorder]:
    root.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(stop_before)
    return train(job, RunFolder(root), World(device=torch.device("cpu")), recorder, cache=cache), recorder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Recorder]:
    root = tmp_path_factory.mktemp("whole")
    _, recorder = run(small_job(), root, cache)
    return root, recorder


def weights(root: Path) -> bytes:
    return (root / "final" / "adapter_model.safetensors").read_bytes()


def test_every_step_has_a_loss_and_the_validation_loss_falls(whole: tuple[Path, Recorder]) -> None:
    _, recorder = whole
    assert list(recorder.losses()) == list(range(1, STEPS + 1))
    steps = [r for r in recorder.records if r["kind"] == "train"]
    assert all(0.0 < float(str(r["data_s"])) < float(str(r["seconds"])) for r in steps)
    measured = [(r["step"], r["loss"]) for r in recorder.records if r["kind"] == "validation"]
    assert [step for step, _ in measured] == [0, 4, 8, 12]
    assert float(str(measured[-1][1])) < float(str(measured[0][1])) - 0.1


def test_every_steps_time_is_recorded_as_its_own(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: Any, **options: Any) -> torch.Tensor:
        time.sleep(0.3)
        return train_step(*args, **options)

    monkeypatch.setattr(loop, "train_step", slow)
    _, recorder = run(small_job(train__steps=6, checkpoint__every=3, validation__every=2), tmp_path / "run", cache)
    seconds = [float(str(record["seconds"])) for record in recorder.records if record["kind"] == "train"]
    assert len(seconds) == 6
    assert all(each >= 0.3 for each in seconds), seconds


def test_what_is_measured_before_the_first_step_counts_as_start_up(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(*_: object, **__: object) -> bool:
        time.sleep(2.0)
        return True

    monkeypatch.setattr(loop, "record_passes", counted)
    _, recorder = run(small_job(train__steps=4), tmp_path / "run", cache)
    (startup,) = (record for record in recorder.records if record["kind"] == "startup")
    assert list(startup) == ["kind", "step", "data_s", "model_s", "first_measurements_s"]
    first = next(float(str(r["seconds"])) for r in recorder.records if r["kind"] == "validation")
    assert 0.0 < first < 2.0, "the count has a time of its own"
    assert 2.0 + first <= float(str(startup["first_measurements_s"])) < 2.0 + first + 1.0


def test_a_run_leaves_exactly_these_files(whole: tuple[Path, Recorder]) -> None:
    root, _ = whole
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    adapter = {"MANIFEST.json", "adapter_config.json", "adapter_model.safetensors"}
    checkpoint = {*adapter, "optimizer.safetensors", "state.json"}
    assert found - {"best/README.md", "final/README.md"} == {
        "attempt.json",
        "environment.json",
        "ledger.json",
        ".attempt.lock",
        *(f"best/{name}" for name in adapter),
        *(f"final/{name}" for name in adapter),
        *(f"checkpoints/step-{step:06d}/{name}" for step in (9, 12) for name in checkpoint),
    }


def test_the_demo_model_trains_this_many_weights(whole: tuple[Path, Recorder]) -> None:
    from safetensors.torch import load_file

    root, _ = whole
    config = json.loads((Path("src/runner/model/tiny/config.json")).read_text())
    hidden, mlp, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    keys = hidden // heads * config["num_key_value_heads"]
    each = 2 * (hidden + hidden) + 2 * (hidden + keys) + 2 * (hidden + mlp)
    expected = config["num_hidden_layers"] * 4 * each
    stored = load_file(root / "final" / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in stored.values()) == expected


@pytest.mark.parametrize("stop_before", [1, 4, 7])
def test_a_stopped_run_goes_on_with_the_same_losses_and_weights(
    stop_before: int, whole: tuple[Path, Recorder], cache: Path, tmp_path: Path
) -> None:
    root, uninterrupted = whole
    first, before = run(small_job(), tmp_path, cache, stop_before=stop_before)
    assert first.ending == "stopped"
    assert first.step < STEPS
    second, after = run(small_job(), tmp_path, cache)
    assert second.ending == "finished"
    assert before.losses() | after.losses() == uninterrupted.losses()
    assert min(after.losses()) == first.step + 1
    assert weights(tmp_path) == weights(root)


def test_written_out_layers_train_as_transformers_own_and_resume_bit_for_bit(cache: Path, tmp_path: Path) -> None:
    def job(kernels: str) -> Job:
        return small_job(train__kernels=kernels, lora__dropout=0.0, train__learning_rate=1e-3)

    _, plain = run(job("transformers"), tmp_path / "plain", cache)
    _, fused = run(job("fused"), tmp_path / "fused", cache)
    for step, loss in plain.losses().items():
        assert fused.losses()[step] == pytest.approx(float(str(loss)), abs=1e-4)
    _, before = run(job("fused"), tmp_path / "stopped", cache, stop_before=5)
    _, after = run(job("fused"), tmp_path / "stopped", cache)
    assert before.losses() | after.losses() == fused.losses()
    assert weights(tmp_path / "stopped") == weights(tmp_path / "fused")


def test_a_damaged_newest_checkpoint_is_passed_over_and_told(
    whole: tuple[Path, Recorder], cache: Path, tmp_path: Path
) -> None:
    root, uninterrupted = whole
    run(small_job(), tmp_path, cache, stop_before=8)
    newest = max((tmp_path / "checkpoints").iterdir())
    file = newest / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    _, after = run(small_job(), tmp_path, cache)
    told = [str(r["text"]) for r in after.records if r["kind"] == "event"]
    assert any(newest.name in line for line in told)
    assert weights(tmp_path) == weights(root)
    assert after.losses().items() <= uninterrupted.losses().items()


def test_other_data_under_the_same_run_is_refused(cache: Path, tmp_path: Path) -> None:
    run(small_job(), tmp_path, cache, stop_before=4)
    for state in (tmp_path / "checkpoints").glob("*/state.json"):
        assert json.loads(state.read_text())["data_fingerprint"]
    other = small_job()
    with pytest.raises(UserError, match="was trained on data"):
        _with_other_data(other, tmp_path, cache)


def _with_other_data(job: Job, root: Path, cache: Path) -> None:
    parts = assemble(job, RunFolder(root), World(device=torch.device("cpu")), SilentReporter(), cache=cache)
    step, _ = parts.saves.newest()
    read_state(parts.saves.path(step), parts.model, parts.optimizer, "0" * 16)


def test_a_loss_that_is_not_finite_ends_the_run_before_weights_move(cache: Path, tmp_path: Path) -> None:
    job = small_job(train__learning_rate=5e-3)
    poisoned = Recorder()
    world = World(device=torch.device("cpu"))
    parts = assemble(job, RunFolder(tmp_path), world, poisoned, cache=cache)
    parts, progress = begin(parts, Progress.fresh(job, parts.data.fingerprint))
    causal_lm(parts.model).get_decoder().norm.weight.data.fill_(float("nan"))
    before = {name: weight.clone() for name, weight in parts.optimizer.whole_weights().items()}
    with pytest.raises(Diverged, match="3 steps in a row, the last at step 3") as raised:
        run_steps(parts, progress)
    ids = parts.data.train.document_ids(batches_of(parts).of_step(3).packs[0])
    assert ids
    assert raised.value.where.startswith(f"rows {', '.join(ids)}, ")
    assert raised.value.exit_code == 5
    assert before
    for name, weight in parts.optimizer.whole_weights().items():
        assert torch.equal(weight, before[name]), name


def test_a_good_step_between_bad_ones_lets_training_go_on(cache: Path, tmp_path: Path) -> None:
    """As many bad steps as end a run, but not in a row."""
    last, bad, recorder = 7, (2, 3, 5, 6), Recorder()
    job = small_job(train__micro_batch=2, train__steps=last, checkpoint__every=last, validation__every=last)
    parts = assemble(job, RunFolder(tmp_path), World(device=torch.device("cpu")), recorder, cache=cache)
    parts, progress = begin(parts, Progress.fresh(job, parts.data.fingerprint))
    passes = 0

    def spoil(_: object, arguments: tuple[torch.Tensor]) -> "tuple[torch.Tensor] | None":
        nonlocal passes
        passes += parts.model.training
        return (arguments[0] * float("nan"),) if parts.model.training and passes in bad else None

    causal_lm(parts.model).get_decoder().norm.register_forward_pre_hook(spoil)
    progress, ending = run_steps(parts, progress)
    assert (passes, ending, progress.non_finite) == (last, "finished", 0)
    finite = [step for step, loss in recorder.losses().items() if math.isfinite(float(str(loss)))]
    assert finite == [1, 4, last]


def test_a_held_out_loss_that_is_not_finite_is_never_the_best() -> None:
    fresh = Progress(0, Horizon(10, 12), "data")
    for loss in (math.nan, math.inf, -math.inf):
        assert fresh.measured(Measured(4, loss)).best is None
        good = fresh.measured(Measured(4, 2.0)).measured(Measured(8, loss))
        assert good.best == Measured(4, 2.0)
        assert good.measured(Measured(12, 1.0)).best == Measured(12, 1.0)


def test_a_plateau_brings_the_decay_forward(cache: Path, tmp_path: Path) -> None:
    job = small_job(
        train__steps=40, stop={"plateau": {"window": 4, "improvement": 10.0}}, train__decay=0.2, checkpoint__every=20
    )
    result, recorder = run(job, tmp_path, cache)
    assert result.ending == "plateau"
    assert result.plateau_step is not None
    assert result.step == result.plateau_step + round(result.plateau_step * 0.25)
    rates = [float(str(r["learning_rate"])) for r in recorder.records if r["kind"] == "train"]
    assert rates[-1] < rates[result.plateau_step - 1]
    assert any(r.get("name") == "plateau" for r in recorder.records)


KILLED = """
import os, sys, torch
from pathlib import Path
sys.path[:0] = [sys.argv[3], str(Path(sys.argv[3]).parent)]
from test_loop import small_job
from runner.runs import MetricsLog, RunFolder
from runner.runs.trackers import open_trackers
from runner.train.loop import train
from runner.train.reporter import FileReporter
from runner.train.world import World
torch.set_num_threads(1)
root = Path(sys.argv[1])
folder = RunFolder(root)
log = MetricsLog(folder.metrics_file)
reporter = FileReporter(log, lambda step: open_trackers((), folder, step=step), root / "stop-requested")
train(small_job(), folder, World(device=torch.device("cpu")), reporter, cache=Path(sys.argv[2]))
"""


def trained(metrics: Path) -> int:
    return sum(record["kind"] == "train" for record in read_metrics(metrics))


@pytest.mark.long
def test_a_run_killed_at_random_points_goes_on_bit_for_bit(
    whole: tuple[Path, Recorder], cache: Path, tmp_path: Path
) -> None:
    root, uninterrupted = whole
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(cache), str(Path(__file__).parent)]
    metrics = tmp_path / "metrics.jsonl"
    chooser = random.Random(5)
    kills = 0
    for number in range(5):
        kept, starts = kept_step(tmp_path), went_on_from(tmp_path)
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wanted = chooser.randint(1, 3) + 2 * number
        while child.poll() is None and ((kept and went_on_from(tmp_path) == starts) or trained(metrics) < wanted):
            time.sleep(0.002)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
        assert went_on_from(tmp_path)[-1:] == ([kept] if kept else [])
    assert kills == 5
    kept = kept_step(tmp_path)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert went_on_from(tmp_path)[-1] == kept
    losses = {r["step"]: r["loss"] for r in read_metrics(metrics) if r["kind"] == "train"}
    assert losses == uninterrupted.losses()
    assert weights(tmp_path) == weights(root)


@pytest.mark.slow
def test_a_run_that_is_stopped_in_a_step_is_ended_and_goes_on_bit_for_bit(
    whole: tuple[Path, Recorder], cache: Path, tmp_path: Path
) -> None:
    root, uninterrupted = whole
    quick = f"import runner.train.watchdog as watchdog; watchdog.LEAST_S = 2.0{KILLED}"
    command = [sys.executable, "-c", quick, str(tmp_path), str(cache), str(Path(__file__).parent)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while child.poll() is None and trained(tmp_path / "metrics.jsonl") < 10:
        time.sleep(0.002)
    child.send_signal(signal.SIGSTOP)  # in the eleventh step: no measurement comes between
    assert child.wait(timeout=60) == -signal.SIGKILL
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert {r["step"]: r["loss"] for r in records if r["kind"] == "train"} == uninterrupted.losses()
    assert weights(tmp_path) == weights(root)
    [told] = [str(r["text"]) for r in records if r.get("name") == "hang"]
    assert told.startswith("a step took more than ")
    assert told.endswith(" s and was ended; it was stopped and left no stacks")


def test_the_file_reporter_is_asked_to_stop_by_a_file(cache: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "stop").touch()
    reporter = FileReporter(
        MetricsLog(folder.metrics_file), lambda step: open_trackers((), folder, step=step), tmp_path / "stop"
    )
    result = train(small_job(), folder, World(device=torch.device("cpu")), reporter, cache=cache)
    assert result.ending == "stopped"
    assert result.step == 0

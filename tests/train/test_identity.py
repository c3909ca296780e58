"""What a checkpoint says of the base, adapter and data it belongs to, and what becomes of it under another one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file
from test_loop import Recorder, run, small_job

from runner.config.job import Job, Model
from runner.errors import UserError
from runner.model.source import EMBEDDED, content_of
from runner.runs.manifest import MANIFEST_FILE, Manifest, verified, write_manifest

TINY = EMBEDDED["builtin:tiny-starcoder2"]
THEN, NOW = "a" * 40, "b" * 40


def base_in(folder: Path, *, shifted: float = 0.0) -> Path:
    """The embedded base in ``folder``, one number of its weights off by ``shifted``."""
    shutil.copytree(TINY, folder)
    tensors = load_file(folder / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].copy()
    tensors[name].reshape(-1)[7] += np.float32(shifted)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def job_on(base: Path | str) -> Job:
    return small_job(model__id=str(base), model__weights="pretrained")


def events(recorder: Recorder, name: str) -> list[str]:
    return [str(r["text"]) for r in recorder.records if r.get("name") == name]


def newest(root: Path) -> Path:
    return max((root / "checkpoints").iterdir())


def test_a_checkpoint_says_in_words_what_it_belongs_to(cache: Path, tmp_path: Path) -> None:
    run(job_on("builtin:tiny-starcoder2"), tmp_path, cache, stop_before=4)
    stamp = verified(newest(tmp_path)).stamp
    assert stamp["base"] == "builtin:tiny-starcoder2"
    assert stamp["base_content"] == content_of(Model(id="builtin:tiny-starcoder2"))
    assert (stamp["quantization"], stamp["adapter"]) == ("nf4", "rank 4 on all-linear")
    assert stamp["data"].startswith("builtin:questions ")
    assert len(stamp["job"]) == 64


def test_other_weights_in_the_same_folder_are_refused_with_both_fingerprints(cache: Path, tmp_path: Path) -> None:
    base = base_in(tmp_path / "base")
    before = content_of(Model(id=str(base)))
    first, _ = run(job_on(base), tmp_path / "run", cache, stop_before=4)
    shutil.rmtree(base)
    after = content_of(Model(id=str(base_in(base, shifted=0.5))))
    kept = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").rglob("*") if path.is_file()}
    with pytest.raises(UserError) as refused:
        run(job_on(base), tmp_path / "run", cache)
    assert refused.value.what == (
        f"the checkpoint of step {first.step} belongs to something else: base_content is {before}, this run has {after}"
    )
    assert "--resume never" in refused.value.remedy
    assert before != after
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_a_checkpoint_of_another_job_names_every_difference(cache: Path, tmp_path: Path) -> None:
    run(job_on("builtin:tiny-starcoder2"), tmp_path / "one", cache, stop_before=4)
    other = small_job(lora__rank=2, model__quantization="none")
    run(other, tmp_path / "other", cache, stop_before=4)
    shutil.rmtree(tmp_path / "other" / "checkpoints")
    shutil.copytree(tmp_path / "one" / "checkpoints", tmp_path / "other" / "checkpoints")
    _, recorder = run(other, tmp_path / "other", cache, stop_before=1)
    told = [str(r["text"]) for r in recorder.records if "skipped" in str(r.get("text"))]
    assert told
    assert "quantization is nf4, this run has none" in told[0]
    assert "adapter is rank 4 on all-linear, this run has rank 2 on all-linear" in told[0]
    assert "base_content is " in told[0]
    assert "this run has random weights of seed 17" in told[0]


def test_a_checkpoint_of_an_older_version_which_tells_less_is_gone_on_from(cache: Path, tmp_path: Path) -> None:
    job = job_on("builtin:tiny-starcoder2")
    first, _ = run(job, tmp_path, cache, stop_before=7)
    for folder in (tmp_path / "checkpoints").iterdir():
        now = verified(folder)
        (folder / MANIFEST_FILE).unlink()
        write_manifest(folder, Manifest(now.step, now.attempt, {"job": now.stamp["job"]}, now.versions))
    _, after = run(job, tmp_path, cache)
    assert min(after.losses()) == first.step + 1


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two commits of some/tiny, one number apart; there is no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = tmp_path / "hub" / "models--some--tiny"
    base_in(hub / "snapshots" / THEN)
    base_in(hub / "snapshots" / NOW, shifted=0.5)
    (hub / "refs").mkdir()
    return hub


def test_a_branch_that_has_moved_is_told_and_the_run_goes_on_with_the_commit_it_was_started_on(
    hub: Path, cache: Path, tmp_path: Path
) -> None:
    job = job_on("some/tiny")
    (hub / "refs" / "main").write_text(THEN)
    _, whole = run(job, tmp_path / "whole", cache)
    _, before = run(job, tmp_path / "run", cache, stop_before=7)
    assert events(before, "base") == []
    (hub / "refs" / "main").write_text(NOW)
    _, after = run(job, tmp_path / "run", cache)
    assert before.losses() | after.losses() == whole.losses()
    assert events(after, "base") == [
        f"some/tiny at its main branch is commit {NOW} now, and the run was started on {THEN}: it goes on with that"
    ]
    assert verified(newest(tmp_path / "run")).stamp["base_content"] == THEN
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["fingerprints"]["model"] == THEN
    _, fresh = run(job, tmp_path / "new", cache)
    assert fresh.losses() != whole.losses()


def test_a_commit_that_is_gone_is_refused_with_both_named(hub: Path, cache: Path, tmp_path: Path) -> None:
    job = job_on("some/tiny")
    (hub / "refs" / "main").write_text(THEN)
    run(job, tmp_path / "run", cache, stop_before=4)
    (hub / "refs" / "main").write_text(NOW)
    shutil.rmtree(hub / "snapshots" / THEN)
    with pytest.raises(UserError) as refused:
        run(job, tmp_path / "run", cache)
    assert f"is commit {NOW} now, and the run was started on {THEN}, which cannot be loaded" in refused.value.what
    assert "--resume never" in refused.value.remedy

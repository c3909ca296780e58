"""The commit of a base from the hub, in full in the run's record, and loaded again by it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from finished_run import small_job
from runner.model.source import EMBEDDED
from runner.runs import MetricsLog, RunFolder
from runner.runs.trackers import open_trackers
from runner.train.assembly import assemble
from runner.train.inference import as_trained
from runner.train.records import tell_environment
from runner.train.reporter import FileReporter
from runner.train.world import World

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_full_commit_of_a_hub_model_is_recorded(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = tmp_path / "hub" / "models--some--tiny"
    shutil.copytree(EMBEDDED["builtin:tiny-starcoder2"], hub / "snapshots" / COMMIT)
    (hub / "refs").mkdir()
    (hub / "refs" / "v1").write_text(COMMIT)
    job = small_job(model__id="some/tiny", model__revision="v1", model__quantization="none")
    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir()
    log = MetricsLog(folder.metrics_file)
    reporter = FileReporter(log, lambda step: open_trackers((), folder, step=step), folder.root / "stop")
    tell_environment(assemble(job, folder, World(device=torch.device("cpu")), reporter, cache=cache), 0)
    reporter.close()
    assert json.loads(folder.environment_file.read_text())["fingerprints"]["model"] == COMMIT
    assert as_trained(job, folder).model.revision == COMMIT

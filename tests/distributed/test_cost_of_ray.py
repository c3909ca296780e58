"""What Ray costs a step is told of two runs of the same job, with it and without."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runner.distributed import bench
from typed_runs import SMALL, losses


@pytest.mark.long
def test_both_runs_have_the_same_losses_and_their_steps_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    monkeypatch.setattr(bench, "ROUNDS", 1)
    profile = tmp_path / "one.yaml"
    profile.write_text("cpus_per_worker: 1\n")
    app = typer.Typer()
    app.command()(bench.benchmark)
    small = SMALL | {"train.steps": 6, "validation.every": 6, "checkpoint.every": 6}
    overrides = [word for key, value in small.items() for word in ("-o", f"{key}={value}")]
    done = CliRunner().invoke(app, [*overrides, "--cluster", str(profile), "--folder", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert re.search(r"the loop alone [\d.]+ ms a step, through Ray Train [\d.]+ ms: [+-][\d.]+%", done.output)
    alone, ray = losses(tmp_path / "runs" / "alone-0"), losses(tmp_path / "runs" / "ray-0" / "demo")
    assert alone == ray
    assert len(alone) == 6

"""Kill -9 at random moments of the training loop: every run ends with the bits of one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(__file__).with_name("loop_under_kills.py")


def verdict(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HARNESS), str(folder), str(kills), str(seed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("kills", [pytest.param(5, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.chaos)])
def test_runs_killed_again_and_again_end_with_the_same_bits(
    kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdict(tmp_path / "runs", kills=kills, seed=17)
    with capsys.disabled():
        print(
            f"\n{found['kills']} kills, {found['in_saves']} inside a save, {found['runs']} runs, "
            f"{found['identical']} with the same losses and weights to the bit; of {found['steps']:,} steps "
            f"{found['lost']} were trained again; {found['seconds']:.0f} s"
        )
    assert found["kills"] == kills
    assert found["identical"] == found["runs"], found["differences"]
    assert found["beyond_a_checkpoint"] == 0

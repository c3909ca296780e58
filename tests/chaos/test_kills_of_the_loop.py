"""Kill -9 at random moments of the training loop: every run ends with the bits of one that was left alone."""

from pathlib import Path

import pytest
from harness import verdict


@pytest.mark.parametrize("kills", [pytest.param(5, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.chaos)])
def test_runs_killed_again_and_again_end_with_the_same_bits(
    kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdict("loop_under_kills.py", tmp_path / "runs", kills, 17)
    with capsys.disabled():
        print(
            f"\n{found['kills']} kills, {found['in_saves']} inside a save, {found['runs']} runs, "
            f"{found['identical']} with the same losses and weights to the bit; of {found['steps']:,} steps "
            f"{found['lost']} were trained again; {found['seconds']:.0f} s"
        )
    assert found["kills"] == kills
    assert found["identical"] == found["runs"], found["differences"]
    assert found["beyond_a_checkpoint"] == found["elsewhere"] == 0

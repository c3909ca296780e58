"""What share of the loop's time counts when it is killed once every ten checkpoints, and what a restart costs."""

import statistics
from pathlib import Path

import pytest
from harness import verdict

GOODPUT = 0.9


@pytest.mark.parametrize("kills", [pytest.param(6, marks=pytest.mark.long), pytest.param(20, marks=pytest.mark.chaos)])
def test_nine_tenths_of_the_time_after_restarts_count(
    kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdict("goodput.py", tmp_path / "runs", kills, 43)
    with capsys.disabled():
        rest = ", ".join(
            f"{found[key]:.1f} s {words}"
            for key, words in [
                ("counted_s", "in steps that counted"),
                ("saving_s", "in saves"),
                ("measuring_s", "in measuring the held-out loss"),
                ("lost_s", "lost between a checkpoint and a kill"),
                ("ending_s", "at the end"),
                ("restart_s", "in restarts"),
            ]
        )
        print(
            f"\n{found['steps']:,} steps, a checkpoint every 10, {found['kills']} kills: goodput "
            f"{found['goodput']:.1%} after restarts ({rest}); {found['lost_steps']} steps trained again; median from a "
            f"kill to the first step {statistics.median(found['restarts']):.1f} s, to the next new step "
            f"{statistics.median(found['new_steps']):.1f} s; the same losses and weights: {found['identical']}"
        )
    assert found["identical"]
    assert found["kills"] >= kills // 2  # the last ones may have been drawn for after the end
    assert found["goodput"] > GOODPUT

"""SIGTERM at random moments of `runner train`: exit 75, all steps kept, and no run differs from one left alone."""

import random
import signal
import time
from pathlib import Path

import pytest
from loop_under_kills import kept_step

from processes import END_S, end, wait_for
from typed_runs import losses, train, weights

pytestmark = pytest.mark.chaos
STEPS = 60
STOPS_A_RUN = 6
LONGEST_S = 4.0  # from the first step of a life to the signal
SAVED_WITHIN_S = 30.0


def run_of(storage: Path, home: Path) -> Path:
    """A run left alone."""
    end(train(storage, home, "-o", f"train.steps={STEPS}"), 0)
    return storage / "demo"


@pytest.mark.parametrize("stops", [30])
def test_every_stopped_run_has_saved_everything(
    stops: int, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chooser, whole = random.Random(29), run_of(tmp_path / "whole", home)
    ended_75 = twice = runs = identical = 0
    slowest_s = 0.0
    while ended_75 < stops:
        storage, before = tmp_path / f"storage-{runs}", 0
        for _ in range(min(STOPS_A_RUN, stops - ended_75)):
            process = train(storage, home, "-o", f"train.steps={STEPS}")
            wait_for(lambda: max(losses(storage / "demo"), default=0) > before, process)  # noqa: B023 - used at once
            time.sleep(chooser.uniform(0.0, LONGEST_S))
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=END_S)
            if process.returncode == 0:
                break  # it had trained its last step by then
            assert process.returncode == 75, output
            assert "everything is saved" in output
            slowest_s = max(slowest_s, time.monotonic() - asked)
            before = max(losses(storage / "demo"))
            twice += before - kept_step(storage / "demo")
            ended_75 += 1
        end(train(storage, home, "-o", f"train.steps={STEPS}"), 0)
        identical += losses(storage / "demo") == losses(whole) and weights(storage / "demo") == weights(whole)
        runs += 1
    with capsys.disabled():
        print(
            f"\n{ended_75} SIGTERMs, all ended with 75, {twice} steps not saved; {runs} runs, {identical} with "
            f"the losses and weights of one left alone to the bit; at most {slowest_s:.1f} s from the signal to the end"
        )
    assert (twice, identical) == (0, runs)
    assert slowest_s < SAVED_WITHIN_S

"""SIGTERM at random moments of `runner train`: exit 75, all steps kept, and no run differs from one left alone."""

import random
import signal
import time
from pathlib import Path

import pytest
from ray_faults import PATIENCE_S, STEPS, await_new_step, finish, pause, reached, same, started

from went_on import kept_step

STOPS_A_RUN = 6
SAVED_WITHIN_S = 30.0


@pytest.mark.parametrize("stops", [pytest.param(6, marks=pytest.mark.long), pytest.param(30, marks=pytest.mark.chaos)])
def test_every_stopped_run_has_saved_everything(
    stops: int, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chooser, whole = random.Random(29), tmp_path / "whole"
    finish(started(whole, home))
    made = unsaved = runs = identical = 0
    slowest_s = 0.0
    while made < stops:
        storage, before = tmp_path / f"storage-{runs}", 0
        for _ in range(min(STOPS_A_RUN, stops - made)):
            process = started(storage, home)
            await_new_step(storage, process, before)
            pause(chooser)
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=PATIENCE_S)
            if process.returncode == 0:
                break  # it had trained its last step by then
            assert process.returncode == 75, output
            assert "everything is saved" in output
            slowest_s = max(slowest_s, time.monotonic() - asked)
            before = reached(storage)
            unsaved += before - kept_step(storage / "demo")
            made += 1
            if before == STEPS:
                break  # what was left is measured by the run that goes on, without a step
        finish(started(storage, home))
        identical += same(storage, whole)
        runs += 1
        with capsys.disabled():
            print(
                f"\n{made} SIGTERMs, all ended with 75, {unsaved} steps not saved; {runs} runs, {identical} with the "
                f"losses and weights of one left alone to the bit; at most {slowest_s:.1f} s from signal to end"
            )
    assert (unsaved, identical) == (0, runs)
    assert slowest_s < SAVED_WITHIN_S

"""Kill -9 at random moments of `runner train`, of the worker or of all with Ray: every run ends with the same bits."""

import random
import time
from pathlib import Path

import pytest
from ray_faults import STEPS, await_new_step, finish, kill_all, kill_worker, pause, reached, same, spread, started

from went_on import kept_step, went_on_from

KILLS_A_RUN = 3


@pytest.mark.parametrize("runs", [pytest.param(2, marks=pytest.mark.long), pytest.param(20, marks=pytest.mark.chaos)])
def test_runs_killed_three_times_through_ray_end_with_the_same_bits(
    runs: int, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chooser, whole = random.Random(37), tmp_path / "whole"
    finish(started(whole, home))
    workers = all_killed = identical = 0
    after_worker: list[float] = []
    after_all: list[float] = []
    for run in range(runs):
        storage = tmp_path / f"storage-{run}"
        process, before = started(storage, home), 0
        await_new_step(storage, process, before)
        for _ in range(KILLS_A_RUN):
            pause(chooser)
            if process.poll() is not None:
                break  # it had trained its last step by then
            only_worker, killed_at = chooser.random() < 0.5, time.monotonic()
            if only_worker:
                kill_worker(process)
            else:
                kill_all(process)
            before, kept = reached(storage), kept_step(storage / "demo")
            if not only_worker:
                process = started(storage, home)
            workers, all_killed = workers + only_worker, all_killed + (not only_worker)
            if before == STEPS:
                break  # it was killed after its last step: no new one comes
            await_new_step(storage, process, before)
            assert went_on_from(storage / "demo")[-1:] == ([kept] if kept else [])
            (after_worker if only_worker else after_all).append(time.monotonic() - killed_at)
        finish(process)
        identical += same(storage, whole)
        with capsys.disabled():
            print(
                f"\n{run + 1} runs, {workers} kills of the worker, {all_killed} of all processes; {identical} with the "
                f"losses and weights of one left alone to the bit; from the kill to the next new step "
                f"{spread(after_worker)} (worker), {spread(after_all)} (all)"
            )
    assert identical == runs

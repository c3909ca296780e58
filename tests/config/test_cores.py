"""How many cores a process may use: its affinity, and its control group's share of time."""

import os
from pathlib import Path

import pytest

from runner.config import cores
from runner.config.cores import usable_cores


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000\n", 6), ("200000 100000\n", 2), ("150000 100000\n", 2), ("50000 100000\n", 1), ("oops", 6)],
)
def test_a_containers_share_of_time_counts(
    limit: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    monkeypatch.setattr(cores, "CGROUP_LIMIT", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(6)))
    assert usable_cores() == expected


def test_cores_that_a_process_may_not_run_on_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "CGROUP_LIMIT", tmp_path / "none")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)

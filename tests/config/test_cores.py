"""How many cores a process may use: its affinity, and its control group's share of time."""

import os
from pathlib import Path

import pytest

from runner.config import cores
from runner.config.cores import usable_cores, visible_gpus


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


@pytest.mark.parametrize(
    ("files", "allowed", "expected"),
    [
        ([], None, 0),
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"], None, 2),
        (["nvidia0", "nvidia1"], "1", 1),
        (["nvidia0"], "", 0),
        (["nvidia0"], "0,1", 1),
        (["dxg"], None, None),
    ],
)
def test_gpus_are_counted_by_their_files(
    files: list[str], allowed: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr("runner.config.cores.DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible_gpus() == expected

"""The main memory that can still be taken, of the machine and of the container's own group."""

import os
from pathlib import Path

import pytest

from runner.plan import available
from runner.plan.available import GROUPS, Group, available_bytes

SECOND, FIRST = GROUPS
KIB, MIB = 2**10, 2**20


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 1,000 MiB available, most of it cached files, and groups that limit nothing."""
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  4096000 kB\nMemFree:  102400 kB\nMemAvailable:  1024000 kB\nHugePages_Total:  0\n")
    monkeypatch.setattr(available, "MEMORY", file)
    monkeypatch.setattr(available, "GROUPS", ())
    return file


def grouped(monkeypatch: pytest.MonkeyPatch, folder: Path, like: Group, *, limit: str, used: int, cached: int) -> None:
    group = Group(folder, like.limit, like.used, like.cached)
    (folder / like.limit).write_text(f"{limit}\n")
    (folder / like.used).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{like.cached} {cached}\nactive_file 7\n")
    monkeypatch.setattr(available, "GROUPS", (group,))


def test_cached_files_count_as_available() -> None:
    assert available_bytes() == 1_024_000 * KIB


@pytest.mark.parametrize("like", [SECOND, FIRST])
def test_a_containers_limit_less_what_it_uses_but_for_cached_files_is_the_most(
    like: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, used, cached, expected in ((500, 400, 250, 350), (5000, 400, 250, 1000), (300, 400, 0, 0)):
        grouped(monkeypatch, tmp_path, like, limit=str(limit * MIB), used=used * MIB, cached=cached * MIB)
        assert available_bytes() == expected * MIB


def test_a_group_without_a_limit_limits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grouped(monkeypatch, tmp_path, SECOND, limit="max", used=400 * MIB, cached=0)
    assert available_bytes() == 1_000 * MIB


def test_where_the_kernel_does_not_say_free_pages_are_what_there_is(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.unlink()
    monkeypatch.setattr(os, "sysconf", {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert available_bytes() == 4_096_000


def test_the_plan_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from runner.plan import present_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert present_device().free_gib == 1_000 / 1024

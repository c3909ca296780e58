"""The cache folder: whole or absent, and never trusted unread."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.data.store import fault_of, publishing
from runner.errors import DoesNotFit


def publish(cache: Path, text: str) -> Path:
    with publishing(cache, "key") as folder:
        (folder / "train").mkdir()
        (folder / "train" / "tokens.bin").write_text(text)
        (folder / "ledger.json").write_text("{}")
    return cache / "key"


def test_a_published_folder_is_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    publish(tmp_path, "first")
    folder = publish(tmp_path, "second")
    assert fault_of(folder) is None
    assert (folder / "train" / "tokens.bin").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_block_that_fails_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with publishing(tmp_path, "key") as folder:
            (folder / "tokens.bin").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "key.tmp-dead").mkdir()
    (tmp_path / "other.tmp-alive").mkdir()
    publish(tmp_path, "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "other.tmp-alive"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "MANIFEST.json").unlink(), "MANIFEST.json is missing or not readable"),
        (lambda folder: (folder / "MANIFEST.json").write_text('{"fil'), "MANIFEST.json is missing or not readable"),
        (lambda folder: (folder / "MANIFEST.json").write_text('{"files": {"a": 1}}'), "MANIFEST.json is missing"),
        (lambda folder: (folder / "train" / "tokens.bin").unlink(), "train/tokens.bin is missing"),
        (lambda folder: (folder / "train" / "tokens.bin").write_text("ten"), "train/tokens.bin has 3 bytes, 6 were"),
        (lambda folder: (folder / "train" / "tokens.bin").write_text("tokenz"), "differs from its sha256"),
    ],
)
def test_every_damage_is_told(tmp_path: Path, damage: Callable[[Path], object], told: str) -> None:
    folder = publish(tmp_path, "tokens")
    damage(folder)
    assert told in (fault_of(folder) or "")


def test_a_full_disk_is_told_with_what_is_free(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit, match=r"No space left on device; .* MiB free"), publishing(tmp_path, "key"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []

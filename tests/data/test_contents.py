"""A data set is known by the bytes of its files, however large they are and whenever they were written."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from data_fakes import ByteEncoder, reasoning_row, write_jsonl

import runner.data.contents
from runner.config.job import Data
from runner.data import PreparedData
from runner.data.contents import content_of
from runner.data.prepare import prepare
from runner.data.store import sha256_of

LONG_AGO, LATER = (1_700_000_000, 1_700_000_000), (1_800_000_000, 1_800_000_000)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read to be hashed; every file counts as a large one."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(runner.data.contents, "REMEMBERED_BYTES", 10)
    monkeypatch.setattr(runner.data.contents, "sha256_of", counted)
    return names


def prepared(tmp_path: Path, path: Path, **changes: Any) -> PreparedData:
    data = Data(**{"id": str(path), "max_length": 1024, "validation_questions": 5, **changes})
    return prepare(data, ByteEncoder(), cache=tmp_path / "cache")


def rows_from(first: int) -> list[dict[str, str]]:
    return [reasoning_row(number) for number in range(first, first + 30)]


def test_a_large_file_is_known_by_its_bytes_and_not_by_its_time(tmp_path: Path, hashed: list[str]) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows_from(1000))
    first = prepared(tmp_path, path).fingerprint
    os.utime(path, LONG_AGO)
    assert prepared(tmp_path, path).fingerprint == first
    (tmp_path / "elsewhere").mkdir()
    copy = write_jsonl(tmp_path / "elsewhere" / "rows.jsonl", rows_from(1000))
    assert prepared(tmp_path, copy).fingerprint == first
    write_jsonl(path, rows_from(2000))
    os.utime(path, LATER)
    assert prepared(tmp_path, path).fingerprint != first
    assert hashed == ["rows.jsonl"] * 4


def test_a_large_file_has_the_fingerprint_of_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows_from(1000))
    small = prepared(tmp_path, path).fingerprint
    monkeypatch.setattr(runner.data.contents, "REMEMBERED_BYTES", 10)
    assert prepared(tmp_path, path).fingerprint == small


def test_a_large_file_is_read_once_and_again_when_it_changed_or_its_memory_is_damaged(
    tmp_path: Path, hashed: list[str]
) -> None:
    path, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    path.write_text("a" * 100)
    first = content_of(path, cache)
    assert content_of(path, cache) == first == sha256_of(path)
    assert len(hashed) == 1
    (memory,) = (cache / "contents").iterdir()
    kept = memory.read_bytes()
    for damaged in (b"", kept[:70], bytes([kept[0] ^ 1]) + kept[1:], b"\xff" + kept):
        memory.write_bytes(damaged)
        assert content_of(path, cache) == first
    assert memory.read_bytes() == kept
    assert len(hashed) == 1 + 4


def test_bytes_that_change_under_the_same_size_and_time_are_seen(tmp_path: Path, hashed: list[str]) -> None:
    path, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    found = []
    for letter in "ab":
        path.write_text(letter * 100)
        os.utime(path, LONG_AGO)
        found.append(content_of(path, cache))
        time.sleep(0.05)  # the clock of a file system may tick every 10 ms
    assert found[0] != found[1]
    assert len(hashed) == 2


def test_new_rows_under_the_size_and_time_of_old_ones_are_read(tmp_path: Path) -> None:
    path, found = tmp_path / "rows.jsonl", []
    for first in (1000, 2000):
        write_jsonl(path, rows_from(first))
        os.utime(path, LONG_AGO)
        split = prepared(tmp_path, path).train
        found.append({int(name[1:]) // 1000 for name in split.question_ids})
    assert found == [{1}, {2}]


def test_a_hash_that_cannot_be_remembered_counts_all_the_same(tmp_path: Path, hashed: list[str]) -> None:
    path, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    path.write_text("a" * 100)
    cache.write_text("a file where the folder should be")
    assert content_of(path, cache) == content_of(path, cache) == sha256_of(path)
    assert hashed == ["rows.jsonl"] * 2

"""What counts as a checkpoint: damage of every kind, other jobs, newer formats, pruning, dead attempts, a full disk."""

import contextlib
import json
import os
import pickle
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from disks import mounted
from runner.errors import DoesNotFit, UserError
from runner.runs import (
    Attempt,
    CheckpointStore,
    Damaged,
    Manifest,
    StaleAttempt,
    publish_folder,
    recover_folder,
    verified,
)
from runner.runs import manifest as manifest_module


def store_in(root: Path, *, keep: int = 3, job: str = "abc", attempt: Attempt | None = None) -> CheckpointStore:
    root.mkdir(exist_ok=True)
    return CheckpointStore(root / "checkpoints", keep=keep, stamp={"job": job}, attempt=attempt or Attempt.begin(root))


def save(store: CheckpointStore, *steps: int) -> None:
    for step in steps:
        with store.writing(step) as folder:
            (folder / "adapter").mkdir()
            (folder / "adapter" / "weights.bin").write_bytes(step.to_bytes(4) * 500)
            (folder / "state.json").write_text(json.dumps({"step": step}))


def write(store: CheckpointStore, step: int, content: bytes) -> None:
    with store.writing(step) as folder:
        (folder / "weights.bin").write_bytes(content)


def save_and_fail(store: CheckpointStore, step: int, error: Exception, *, content: bytes = b"half") -> None:
    """A save that writes as much of ``content`` as the disk takes, and then raises ``error``."""
    with store.writing(step) as folder:
        with (folder / "weights.bin").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while content:
                content = content[file.write(content) :]
        raise error


def names(store_root: Path) -> list[str]:
    return sorted(path.name for path in (store_root / "checkpoints").iterdir())


def test_the_newest_checkpoint_is_found_as_it_was_written(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.newest_valid().path is None
    save(store, 100, 200)
    found = store.newest_valid()
    assert (found.step, found.skipped) == (200, ())
    assert found.path == tmp_path / "checkpoints" / "step-000200"
    assert (found.path / "adapter" / "weights.bin").read_bytes() == (200).to_bytes(4) * 500
    assert found.manifest is not None
    assert (found.manifest.step, found.manifest.attempt, found.manifest.stamp) == (200, 1, {"job": "abc"})
    assert "runner" in found.manifest.versions


def flip_a_bit(folder: Path, chance: random.Random) -> None:
    path = chance.choice([path for path in folder.rglob("*") if path.is_file()])
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(folder: Path, chance: random.Random) -> None:
    path = chance.choice([path for path in folder.rglob("*") if path.is_file()])
    os.truncate(path, chance.randrange(path.stat().st_size))


def zero(folder: Path, chance: random.Random) -> None:
    path = chance.choice([path for path in folder.rglob("*") if path.is_file()])
    path.write_bytes(bytes(path.stat().st_size))


def remove_a_file(folder: Path, chance: random.Random) -> None:
    chance.choice([path for path in folder.rglob("*") if path.is_file()]).unlink()


def add_a_file(folder: Path, chance: random.Random) -> None:
    (folder / f"extra-{chance.random()}").write_text("more")


def link_a_file(folder: Path, chance: random.Random) -> None:
    path = chance.choice([path for path in folder.rglob("*") if path.is_file()])
    shutil.move(path, folder.parent.parent / "elsewhere")
    path.symlink_to(folder.parent.parent / "elsewhere")


def link_the_folder(folder: Path, chance: random.Random) -> None:
    shutil.move(folder, folder.parent.parent / f"moved-{chance.random()}")
    folder.symlink_to(next(folder.parent.parent.glob("moved-*")))


def empty(folder: Path, chance: random.Random) -> None:
    shutil.rmtree(folder)
    if chance.random() < 0.5:
        folder.mkdir()
    else:
        folder.write_text("a file in its place")


def rename_it(folder: Path, chance: random.Random) -> None:
    folder.rename(folder.with_name(f"step-{chance.randrange(300, 999999):06d}"))


DAMAGES = (
    flip_a_bit,
    truncate,
    zero,
    remove_a_file,
    add_a_file,
    link_a_file,
    link_the_folder,
    empty,
    rename_it,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_skipped_with_one_line_for_the_previous_one(
    tmp_path: Path, damage: Callable[[Path, random.Random], None]
) -> None:
    chance = random.Random(damage.__name__)
    for trial in range(12):
        root = tmp_path / str(trial)
        store = store_in(root)
        save(store, 100, 200)
        damage(root / "checkpoints" / "step-000200", chance)
        found = store.newest_valid()
        assert found.step == 100, trial
        assert len(found.skipped) == 1
        line = str(found.skipped[0])
        assert line.startswith("step-")
        assert " skipped: " in line
        assert "\n" not in line


def test_every_single_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 100)
    path = tmp_path / "checkpoints" / "step-000100" / "MANIFEST.json"
    content = path.read_bytes()
    unnoticed = []
    for place in range(len(content)):
        bad = bytearray(content)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        try:
            verified(path.parent)
            unnoticed.append((place, content[place : place + 1]))
        except Damaged:
            continue
    assert len(content) > 500
    assert unnoticed == []


def test_a_checkpoint_of_another_job_is_skipped_and_both_values_are_named(tmp_path: Path) -> None:
    save(store_in(tmp_path, job="one"), 100)
    found = store_in(tmp_path, job="other").newest_valid()
    assert found.path is None
    assert "job is one" in found.skipped[0].reason
    assert "this run has other" in found.skipped[0].reason


def test_a_checkpoint_of_a_newer_format_is_an_error_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    save(store, 100)
    with monkeypatch.context() as newer:
        newer.setattr(manifest_module, "FORMAT", 7)
        newer.setattr(manifest_module, "runner_version", lambda: "9.9.9")
        save(store, 200)
    with pytest.raises(UserError, match=r"format 7, written by runner 9\.9\.9; this is runner .* up to format 1"):
        store.newest_valid()


def test_only_the_newest_are_kept_and_damaged_ones_do_not_count(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep=2)
    save(store, 100, 200, 300)
    assert names(tmp_path) == ["step-000200", "step-000300"]
    os.truncate(tmp_path / "checkpoints" / "step-000300" / "state.json", 1)
    save(store, 400)
    assert names(tmp_path) == ["step-000200", "step-000400"]


def test_a_later_checkpoint_that_was_skipped_does_not_push_out_a_new_one(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep=1)
    save(store, 600)
    flip_a_bit(tmp_path / "checkpoints" / "step-000600", random.Random(1))
    save(store, 500)
    assert names(tmp_path) == ["step-000500", "step-000600"]
    assert store.newest_valid().step == 500
    save(store, 600)
    assert names(tmp_path) == ["step-000600"]
    assert store.newest_valid().step == 600


def test_leftovers_are_told_and_removed_on_request_and_nothing_else_is(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 100)
    leftover = tmp_path / "checkpoints" / f"step-000200.tmp-{'0' * 32}"
    leftover.mkdir()
    for name in ("notes.tmp-mine", "step-000300.tmp-mine", "step-abc"):
        (tmp_path / "checkpoints" / name).mkdir()
    found = store.newest_valid()
    assert [str(line) for line in found.skipped] == [f"{leftover.name} skipped: its save was cut short"]
    assert leftover.exists()
    assert store.newest_valid(remove_leftovers=True).step == 100
    assert names(tmp_path) == ["notes.tmp-mine", "step-000100", "step-000300.tmp-mine", "step-abc"]


def test_an_error_while_saving_leaves_nothing_behind(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 100)
    with pytest.raises(ZeroDivisionError):
        save_and_fail(store, 200, ZeroDivisionError())
    assert names(tmp_path) == ["step-000100"]


def test_a_worker_of_a_dead_attempt_cannot_publish(tmp_path: Path) -> None:
    old = store_in(tmp_path)
    save(old, 100)
    saving = ExitStack()
    saving.enter_context(old.writing(200)).joinpath("weights.bin").write_bytes(b"old")
    new = store_in(tmp_path)
    with pytest.raises(StaleAttempt, match="attempt 1 wanted to publish, but attempt 2 is the newest"):
        saving.close()
    assert names(tmp_path) == ["step-000100"]
    other = Attempt(tmp_path, 2, "another identity")
    with pytest.raises(StaleAttempt), publish_folder(tmp_path / "best", manifest=Manifest(2, 2, {}, {}), attempt=other):
        pass
    assert not (tmp_path / "best").exists()
    save(new, 200)
    assert new.newest_valid().step == 200


def test_attempts_begun_at_once_all_get_numbers_of_their_own(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from runner.runs import Attempt; print(Attempt.begin(pathlib.Path(sys.argv[1])).number)"
    )
    children = [subprocess.Popen(["python", "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    numbers = sorted(int(child.communicate(timeout=60)[0]) for child in children)
    assert numbers == [1, 2, 3, 4]
    assert Attempt.begin(tmp_path).number == 5


@pytest.mark.parametrize("content", [b"", bytes(90), b"{", b'{"attempt": "x"}', b"[1]"])
def test_a_spoilt_attempt_record_keeps_earlier_attempts_out_and_lets_a_new_one_in(
    tmp_path: Path, content: bytes
) -> None:
    old = store_in(tmp_path)
    (tmp_path / "attempt.json").write_bytes(content)
    with pytest.raises(StaleAttempt):
        save(old, 100)
    new = store_in(tmp_path)
    with pytest.raises(StaleAttempt):
        save(old, 100)
    save(new, 100)
    assert names(tmp_path) == ["step-000100"]


def test_a_stale_attempt_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(StaleAttempt("what", "where", "remedy")))
    assert isinstance(error, StaleAttempt)
    assert str(error) == "what; where; remedy"


def test_publishing_replaces_a_folder_and_recovery_leaves_it_alone(tmp_path: Path) -> None:
    for step in (1, 2):
        with publish_folder(tmp_path / "best", manifest=Manifest(step, 1, {}, {})) as folder:
            (folder / f"file-{step}").write_text("x")
    recover_folder(tmp_path / "best")
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["MANIFEST.json", "file-2"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; the test skips itself where mounting is not permitted."""
    with mounted(tmp_path / "disk", "size=4m") as disk:
        yield disk


def test_a_disk_that_fills_keeps_the_last_good_one_and_says_need_and_have(small_disk: Path) -> None:
    store = store_in(small_disk)
    write(store, 100, b"good" * 400_000)
    with pytest.raises(DoesNotFit, match=r"need more than \d.* MiB, have \d.* MiB") as raised:
        write(store, 200, b"more" * 1_000_000)
    assert "\n" not in str(raised.value)
    assert names(small_disk) == ["step-000100"]
    assert store.newest_valid().step == 100
    write(store, 200, b"fits" * 100_000)
    assert store.newest_valid().step == 200


def test_a_writer_that_hides_the_code_of_a_full_disk_gives_the_same_error(small_disk: Path) -> None:
    store = store_in(small_disk)
    with pytest.raises(DoesNotFit, match="the disk filled while step-000100 was saved"):
        save_and_fail(store, 100, RuntimeError("writer failed"), content=bytes(8_000_000))
    assert names(small_disk) == []


def test_preflight_asks_for_two_checkpoints_and_a_reserve(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.preflight(1 << 20)
    with pytest.raises(DoesNotFit, match=r"need .* \(2 checkpoints x 1,073,741,824\.0 MiB .* have") as raised:
        store.preflight(1 << 50)
    assert raised.value.exit_code == 3

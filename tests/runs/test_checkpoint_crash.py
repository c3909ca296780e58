"""Kill -9 at every operation of a save, with and without the loss of all that was not synced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.runs import Attempt, CheckpointStore, FoundCheckpoint, recover_folder, verified

HARNESS = Path(__file__).with_name("saves_under_crash.py")
CONTENT = {100: b"first " * 40_000, 200: b"second " * 40_000, 300: b"third " * 40_000}


def crash_everywhere(root: Path, mode: str) -> list[Path]:
    """One folder for each operation of a save, in the state that a kill just before it left behind."""
    done = subprocess.run([sys.executable, HARNESS, root, mode], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: int(path.name))


def lose_power(place: Path) -> int:
    """Empty every file that the killed process left without fsync; returns how many."""
    synced = {int(inode) for inode in Path(f"{place}.synced").read_text().split()}
    lost = 0
    for path in place.rglob("*"):
        if path.is_file() and path.stat().st_size and path.stat().st_ino not in synced:
            os.truncate(path, 0)
            lost += 1
    return lost


def found_in(place: Path, *, remove_leftovers: bool) -> FoundCheckpoint:
    store = CheckpointStore(place / "checkpoints", keep=2, stamp={"job": "abc"}, attempt=Attempt(place, 2, "reader"))
    return store.newest_valid(remove_leftovers=remove_leftovers)


def is_whole(folder: Path, step: int) -> bool:
    weights = (folder / "adapter" / "weights.bin").read_bytes()
    return weights == CONTENT[step] and (folder / "optimizer.bin").read_bytes() == CONTENT[step][::-1]


@pytest.mark.parametrize("mode", ["swap", "rename"])
def test_a_save_killed_anywhere_leaves_a_whole_checkpoint_and_a_whole_best(tmp_path: Path, mode: str) -> None:
    places = crash_everywhere(tmp_path / "runs", mode)
    assert len(places) > 40
    steps, best, missing, lost = [], [], 0, 0
    for place in places:
        kept = found_in(place, remove_leftovers=False)
        lost += lose_power(place)
        found = found_in(place, remove_leftovers=True)
        assert found.path is not None, (place.name, found.skipped)
        assert found.path == kept.path, "what is published was synced before"
        assert is_whole(found.path, found.step), place.name
        for path in (place / "checkpoints").iterdir():
            assert verified(path).step == int(path.name.removeprefix("step-")), "no unfinished and no half folder"
        steps.append(found.step)
        missing += not (place / "best").exists()
        recover_folder(place / "best")
        best.append(verified(place / "best").step)
        assert is_whole(place / "best", best[-1])
        assert not [path for path in place.iterdir() if ".tmp-" in path.name]
    assert steps == sorted(steps)
    assert set(steps) == {200, 300}
    assert set(best) == {200, 300}
    assert lost > 3
    assert (missing > 0) == (mode == "rename")

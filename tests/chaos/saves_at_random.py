"""Checkpoints written as fast as they go by a process that is killed with SIGKILL at random moments, then spoilt ones.

``python saves_at_random.py FOLDER KILLS CORRUPTIONS SEED`` prints a verdict in JSON.  Which checkpoint is the newest
whole one is known here from what its files should hold, not from manifests.
"""

import hashlib
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runner.runs import Attempt, CheckpointStore, FoundCheckpoint

KEEP = 3
FILES = {"adapter/weights.bin": 400_000, "optimizer.bin": 800_000, "state.json": 3_000}
KINDS = ("truncated", "zeroed", "bit flipped", "emptied", "deleted")
LONGEST_S = 0.12  # of a life: some saves


@dataclass
class Verdict:
    """What came of all kills and corruptions."""

    kills: int = 0  # while a save was under way
    between_saves: int = 0  # kills that fell between two saves, not counted above
    left_unfinished: int = 0  # kills that left a folder whose name says that its save was cut short
    saves: int = 0  # that ended
    corruptions: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    bad_loaded: int = 0  # a checkpoint was taken whose files are not those that were written
    not_newest: int = 0  # another one was taken than the newest whole one, or one older than a save that had ended
    untold: int = 0  # spoilt checkpoints that were passed over without a word
    seconds: float = 0.0


def content(name: str, step: int) -> bytes:
    """What the file ``name`` of the checkpoint of ``step`` holds; no two files have the same."""
    size = FILES[name]
    return hashlib.shake_128(f"{name} {step}".encode()).digest(size)


def is_right(folder: Path, step: int) -> bool:
    """Whether every file that was written into ``folder`` is there to the byte."""
    return all((folder / name).is_file() and (folder / name).read_bytes() == content(name, step) for name in FILES)


def newest_right(root: Path) -> int:
    """The step of the newest checkpoint with the right files, its own record of them left aside; 0: none."""
    found = [int(path.name[5:]) for path in root.glob("step-??????")]
    return max((step for step in found if is_right(root / f"step-{step:06d}", step)), default=0)


def store_of(place: Path) -> CheckpointStore:
    return CheckpointStore(place / "checkpoints", keep=KEEP, stamp={"job": "abc"}, attempt=Attempt.begin(place))


def save(store: CheckpointStore, step: int) -> None:
    with store.writing(step) as folder:
        for name in FILES:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content(name, step))


def save_on(place: Path, says: int) -> None:
    """Save one step after the other, saying before and after each."""
    store = store_of(place)
    step = store.newest_valid(remove_leftovers=True).step
    while True:
        step += 1
        os.write(says, f"begins {step}\n".encode())
        save(store, step)
        os.write(says, f"ended {step}\n".encode())


def killed(place: Path, after_s: float) -> tuple[str, int]:
    """The last word, and its step, of a child that was killed ``after_s`` after its first save began."""
    hearing, says = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            save_on(place, says)
        finally:
            os._exit(1)
    os.close(says)
    text = os.read(hearing, 1 << 16)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    while select.select([hearing], [], [], 0)[0] and (more := os.read(hearing, 1 << 16)):
        text += more
    os.close(hearing)
    word, step = text.decode().split("\n")[-2].split()
    return word, int(step)


def judge(found: FoundCheckpoint, place: Path, at_least: int, verdict: Verdict) -> None:
    """Count ``found`` as bad, or as not the newest; a save up to ``at_least`` had ended."""
    right = newest_right(place / "checkpoints")
    if found.path is not None and not is_right(found.path, found.step):
        verdict.bad_loaded += 1
    elif found.step != right or found.step < at_least:
        verdict.not_newest += 1


def kill_often(place: Path, kills: int, chooser: random.Random, verdict: Verdict) -> None:
    """Until ``kills`` have fallen into a save."""
    while verdict.kills < kills:
        before = store_of(place).newest_valid().step
        word, step = killed(place, chooser.uniform(0.0, LONGEST_S))
        ended = step if word == "ended" else step - 1
        verdict.kills += word == "begins"
        verdict.between_saves += word == "ended"
        verdict.left_unfinished += any(".tmp-" in path.name for path in (place / "checkpoints").iterdir())
        verdict.saves += ended - before
        judge(store_of(place).newest_valid(), place, ended, verdict)


def spoil(path: Path, kind: str, chooser: random.Random) -> None:
    """Damage the file ``path`` in one of the ways in which disks and people do."""
    whole = path.read_bytes()
    at = chooser.randrange(len(whole))
    if kind == "deleted":
        path.unlink()
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole[:at])
    elif kind == "zeroed":
        end = min(len(whole), at + chooser.randint(64, 4096))
        path.write_bytes(whole[:at] + bytes(end - at) + whole[end:])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << chooser.randrange(8))]) + whole[at + 1 :])


def corrupt_often(place: Path, corruptions: int, chooser: random.Random, verdict: Verdict) -> None:
    """A file of the newest checkpoint is spoilt, every fourth time one of the newest but one as well."""
    store, step = store_of(place), 0
    while verdict.corruptions < corruptions:
        shutil.rmtree(place / "checkpoints")
        (place / "checkpoints").mkdir()
        for _ in range(KEEP):
            step += 1
            save(store, step)
        spoilt = [step, step - 1] if verdict.corruptions % 4 == 3 else [step]
        for damaged in spoilt:
            folder = place / "checkpoints" / f"step-{damaged:06d}"
            kind = KINDS[sum(verdict.kinds.values()) % len(KINDS)]
            spoil(folder / chooser.choice([*FILES, "MANIFEST.json"]), kind, chooser)
            verdict.kinds[kind] = verdict.kinds.get(kind, 0) + 1
        found = store.newest_valid()
        verdict.corruptions += 1
        verdict.bad_loaded += found.path is None or not is_right(found.path, found.step)
        verdict.not_newest += found.step != step - len(spoilt)
        verdict.untold += {f"step-{damaged:06d}" for damaged in spoilt} != {skip.path.name for skip in found.skipped}


def main(root: Path, kills: int, corruptions: int, seed: int) -> None:
    started, chooser, verdict = time.monotonic(), random.Random(seed), Verdict()
    for name in ("killed", "spoilt"):
        (root / name).mkdir(parents=True)
    save(store_of(root / "killed"), 1)
    kill_often(root / "killed", kills, chooser, verdict)
    corrupt_often(root / "spoilt", corruptions, chooser, verdict)
    verdict.seconds = round(time.monotonic() - started, 1)
    print(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

"""A child that is stopped (SIGSTOP) at its n-th operation of a save, and goes on when a newer attempt has saved.

Run by test_dead_attempt; it prints what became of each, a line of JSON for every n.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from saves_under_crash import Killer, save

from runner.errors import TrainingFailed
from runner.runs import Attempt, CheckpointStore, StaleAttempt, attempt, recover_folder, verified

STEP = 300
ENDED, STALE, LOST = 0, 3, 4


def saved_by_the_dead(place: Path, dead: Attempt, fatal: int) -> int:
    """The child: its exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    Killer(place, fatal, signal.SIGSTOP).watch()
    try:
        save(place, dead, STEP)
    except StaleAttempt:
        return STALE
    except FileNotFoundError:
        return LOST  # the newer attempt has cleared its unfinished folder away
    return ENDED


def begun(place: Path, *, and_saved: bool) -> bool:
    """Begin an attempt as a restarted worker does, and save; False where the stopped one holds the record."""
    try:
        newest = Attempt.begin(place)
    except TrainingFailed:
        return False
    if and_saved:
        recover_folder(place / "best")
        store = CheckpointStore(place / "checkpoints", keep=2, stamp={"job": "abc"}, attempt=newest)
        assert store.newest_valid(remove_leftovers=True).step in (200, STEP)
        save(place, newest, STEP)
    return True


def published(place: Path, dead: Attempt) -> list[int | None]:
    """Which attempt wrote the checkpoint of the step and ``best``, counted from the dead one; each is whole."""
    folders = place / "checkpoints" / f"step-{STEP:06d}", place / "best"
    return [verified(folder).attempt - dead.number if folder.exists() else None for folder in folders]


def main(root: Path) -> None:
    """Children, each stopped one operation later than the one before, until one is not stopped any more."""
    attempt.GUARD_TIMEOUT_S = 0.05
    before = root / "before"
    before.mkdir(parents=True)
    for step in (100, 200):
        save(before, Attempt.begin(before), step)
    fatal = 1
    while True:
        place = root / str(fatal)
        shutil.copytree(before, place)
        dead = Attempt.begin(place)
        child = os.fork()
        if child == 0:
            os._exit(saved_by_the_dead(place, dead, fatal))
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            assert os.waitstatus_to_exitcode(status) == ENDED
            return
        overtaken, stopped = begun(place, and_saved=fatal % 2 == 0), published(place, dead)
        os.kill(child, signal.SIGCONT)
        _, status = os.waitpid(child, 0)
        told = {
            "overtaken": overtaken,
            "stopped": stopped,
            "ended": published(place, dead),
            "code": os.waitstatus_to_exitcode(status),
            "left": [path.name for path in place.rglob("*.tmp-*")],
        }
        print(json.dumps(told), flush=True)  # the next child must not have it waiting
        fatal += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))

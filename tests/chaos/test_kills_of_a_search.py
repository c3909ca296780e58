"""`runner search` killed with SIGKILL at random moments: nothing finished runs again, and the answer is the same."""

import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from processes import ORPHAN_S, end
from runner.search.journal import read_journal
from typed_searches import answer, pairs_at_rest, search, study

pytestmark = pytest.mark.chaos


def killed(process: "subprocess.Popen[str]", after_s: float) -> bool:
    """Whether ``process`` still ran after so many seconds and was killed; its workers are gone by the return."""
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=ORPHAN_S)
        assert not [each for each in alive if "SearchTrainable" in " ".join(each.cmdline())]
        return True
    return False


@pytest.mark.parametrize("kills", [5])
def test_a_search_killed_at_random_moments_gives_the_answer_of_one_left_alone(
    kills: int, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chooser, began = random.Random(31), time.monotonic()
    end(search(tmp_path / "whole", home), 0)
    seconds = time.monotonic() - began
    made = searches = same = again = rested = 0
    while made < kills:
        storage, at_rest = tmp_path / f"storage-{searches}", set[tuple[int, int]]()
        journal = storage / "tiny" / "journal.jsonl"
        storage.mkdir()
        while made < kills and killed(
            search(storage, home, *(["--resume"] if journal.is_file() else [])), chooser.uniform(0.2, 1.0) * seconds
        ):
            made += 1
            at_rest |= pairs_at_rest(study(storage)) if journal.is_file() else set()
        end(search(storage, home, *(["--resume"] if journal.is_file() else [])), 0)
        events = read_journal(journal)
        measured = Counter((event["trial"], event["stop_step"]) for event in events if event["kind"] == "rung")
        again += sum(measured[pair] > 1 for pair in at_rest)
        rested += len(at_rest)
        same += study(storage) == study(tmp_path / "whole") and answer(storage) == answer(tmp_path / "whole")
        searches += 1
    with capsys.disabled():
        print(
            f"\n{made} kills of {searches} searches, which had finished {rested} measurements by then: {again} of them "
            f"made again; {same} searches with the trials and the answer of one left alone"
        )
    assert (again, same) == (0, searches)

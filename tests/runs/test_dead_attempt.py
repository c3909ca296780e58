"""A worker of a dead attempt that steps on, in a process of its own, publishes nothing over the newer attempt."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from saves_of_the_dead import ENDED, LOST, STALE

HARNESS = Path(__file__).with_name("saves_of_the_dead.py")


def test_a_worker_stopped_anywhere_in_a_save_publishes_nothing_once_a_newer_attempt_has_begun(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, HARNESS, tmp_path / "runs"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    overtaken = [each for each in found if each["overtaken"]]
    for each in overtaken:
        assert each["ended"] == each["stopped"], "nothing is published any more"
        assert each["left"] == []
    ends = Counter(each["code"] for each in overtaken)
    assert ends[STALE] > 10
    assert ends[LOST] > 10, "the newer attempt clears away what the dead one has not finished"
    assert sum(each["ended"] == [1, 1] for each in overtaken) > 10, "the newer attempt had saved"
    publishing = [each for each in found if not each["overtaken"]]
    assert len(publishing) > 3, "while the stopped one publishes no other begins"
    assert {(*each["ended"], each["code"]) for each in publishing} == {(0, 0, ENDED)}

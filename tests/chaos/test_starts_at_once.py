"""Many processes start one run at the same moment: one proceeds, the others say who it is and since when."""

from pathlib import Path

import pytest
from harness import verdict

PROCESSES = 8


@pytest.mark.parametrize("rounds", [4, pytest.param(20, marks=pytest.mark.chaos)])
def test_exactly_one_of_those_that_start_at_once_proceeds(
    rounds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdict("starts_at_once.py", tmp_path, rounds, PROCESSES)
    with capsys.disabled():
        print(
            f"\n{found['rounds']} times {PROCESSES} processes at once, {found['new']} times for a new run: exactly one "
            f"proceeded {found['one_proceeded']} times; {found['told_who']} of the {found['refused']} others said "
            f"who holds the run and since when; at most {found['slowest_s']} s"
        )
    assert found["one_proceeded"] == found["rounds"] == rounds
    assert found["told_who"] == found["refused"] == rounds * (PROCESSES - 1)

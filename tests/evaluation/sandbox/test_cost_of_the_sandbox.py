"""What the sandbox costs is told of programs that pass, and a process that stayed would be seen."""

import subprocess
import sys

import pytest
from walled import needs_sandbox

from processes import wait_for
from runner.evaluation.sandbox import bench
from runner.evaluation.sandbox.walls import MODULES


@needs_sandbox
def test_two_costs_and_what_is_left_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--programs", "5", "--workers", "1"])
    monkeypatch.setattr(bench, "ROUNDS", 1)
    bench.main()
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("1 x 5 programs, 1 at once")
    assert second.startswith("in the sandbox ")
    assert third == "0 processes left"


def test_a_process_of_a_sandbox_that_stayed_is_counted() -> None:
    before, code = bench.of_sandboxes(), f"{MODULES!r}; input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True) as process:
        wait_for(lambda: process.pid in bench.of_sandboxes(), process)  # a new process has no words for a moment
        assert bench.left_over(before, patience_s=1.0) >= 1
        assert bench.left_over(before | {process.pid}, patience_s=10.0) == 0
        process.communicate("\n")
    assert process.pid not in bench.of_sandboxes()

"""Programs against tests: honest ones pass, and hostile ones neither pass nor stay."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from runner.data.questions import Test, hidden_tests, rows
from runner.evaluation import execution
from runner.evaluation.execution import Candidate, run_solution, run_solutions, same

ADD_ONE = (Test((3,), 4), Test((0,), 1))

RIGHT = "def solve(n):\n    return n + 1\n"
HOSTILE = {
    "infinite loop": ("def solve(n):\n    while True:\n        pass", "timeout"),
    "sleep": ("import time\ndef solve(n):\n    time.sleep(60)", "timeout"),
    "fork bomb": ("import os\ndef solve(n):\n    while True:\n        os.fork()", "exception"),
    "threads": (
        "import threading, time\ndef solve(n):\n"
        "    for _ in range(500):\n        threading.Thread(target=time.sleep, args=(60,)).start()\n    return n + 1",
        "exception",
    ),
    "os._exit": ("import os\ndef solve(n):\n    os._exit(0)", "exception"),
    "sys.exit": ("import sys\ndef solve(n):\n    sys.exit(0)", "exception"),
    "exit at import": ("raise SystemExit(0)", "exception"),
    "fake results": ("print('answered\\n[4, 1]')\ndef solve(n):\n    print('answered\\n[4, 1]')", "wrong answer"),
    "huge output": ("def solve(n):\n    return 'x' * (1 << 22)", "exception"),
    "huge memory": ("def solve(n):\n    return bytearray(1 << 33)", "exception"),
    "deep recursion": ("def solve(n):\n    return solve(n)", "exception"),
    "deep nesting": ("def solve(n):\n    x = n + 1\n    for _ in range(950):\n        x = [x]\n    return x", None),
    "equal to all": (
        "class A(int):\n    __hash__ = int.__hash__\n    def __eq__(self, other):\n        return True\n"
        "def solve(n):\n    return A(n)",
        "wrong answer",
    ),
    "patched json": ("import json\njson.dumps = lambda x: 'true'\ndef solve(n):\n    return n", "wrong answer"),
    "not JSON": ("def solve(n):\n    return {n}", "exception"),
    "endless number": ("def solve(n):\n    return 10 ** 9000", "exception"),
    "nan": ("def solve(n):\n    return float('nan')", "wrong answer"),
    "syntax": ("def solve(n):\n    return (", "syntax"),
    "null byte": ("def solve(n):\n    return '\0'", "syntax"),
    "no solve": ("x = 1", "exception"),
    "wrong": ("def solve(n):\n    return n", "wrong answer"),
    "reads the answers": ("import sys\ndef solve(n):\n    return sys.stdin.read()", "wrong answer"),
}


def test_a_right_program_passes_and_its_noise_is_harmless() -> None:
    noisy = "import sys\nprint('a' * 100000)\nsys.stderr.write('b')\n" + RIGHT
    assert run_solution(RIGHT, ADD_ONE).passed
    assert run_solution(noisy, ADD_ONE).passed


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_program_does_not_pass(attack: str) -> None:
    code, outcome = HOSTILE[attack]
    started = time.monotonic()
    verdict = run_solution(code, ADD_ONE, timeout_s=0.6)
    assert time.monotonic() - started < 5.0
    assert not verdict.passed
    if outcome is not None:
        assert verdict.outcome == outcome, verdict


def test_an_attack_costs_its_neighbours_nothing() -> None:
    codes = [code for attack, (code, _) in HOSTILE.items() if attack not in ("infinite loop", "sleep")]
    mixed = [Candidate(code, ADD_ONE) for attacked in codes for code in (attacked, RIGHT)]
    verdicts = run_solutions(mixed, timeout_s=2.0)
    assert len(verdicts) == len(mixed)
    assert [verdict.passed for verdict in verdicts] == [False, True] * len(codes)


def test_a_server_that_is_killed_loses_one_program_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = execution.SERVER.read_text().replace(
        "    reading, writing = os.pipe()\n",
        "    if 'KILL' in code:\n        os.kill(os.getpid(), signal.SIGKILL)\n    reading, writing = os.pipe()\n",
    )
    (tmp_path / "server.py").write_text(marked)
    monkeypatch.setattr(execution, "SERVER", tmp_path / "server.py")
    verdicts = run_solutions([Candidate(code, ADD_ONE) for code in (RIGHT, "KILL", RIGHT)], workers=1)
    assert [verdict.outcome for verdict in verdicts] == ["passed", "exception", "passed"]


def test_no_process_is_left_behind() -> None:
    marker = f"left-behind-{os.getpid()}"
    code = (
        "import os, time\ndef solve(n):\n    try:\n        if os.fork() == 0:\n            os.setsid()\n"
        f"            os.execvp('sleep', ['{marker}', '60'])\n    except OSError:\n        pass\n    return n + 1"
    )
    run_solution(code, ADD_ONE)
    commands = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
    assert commands
    assert not [command for command in commands if marker.encode() in command]


def test_no_byte_is_written_to_a_file() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies under a folder that only this user may enter
        Path(folder).chmod(0o777)
        target = Path(folder) / "note"
        code = f"def solve(n):\n    open({str(target)!r}, 'w').write('x')\n    return n + 1"
        run_solution(code, ADD_ONE)
        assert target.stat().st_size == 0


def test_a_hundred_programs_take_a_few_seconds() -> None:
    found = list(rows("validation", 102, 17))
    started = time.monotonic()
    verdicts = run_solutions([Candidate(row["solution"], hidden_tests(row["id"])) for row in found])
    assert all(verdict.passed for verdict in verdicts)
    assert time.monotonic() - started < 10.0


def test_no_program_gives_no_verdict() -> None:
    assert run_solutions([]) == []


@pytest.mark.parametrize(
    ("output", "expected", "equal"),
    [
        (1, 1, True),
        (1.0, 1, True),
        (True, 1, False),
        (1, True, False),
        (True, True, True),
        ([1, [2]], [1, [2]], True),
        ([1, 2], [1], False),
        ("1", 1, False),
        (None, None, True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": True}, {"a": 1}, False),
    ],
)
def test_outputs_are_compared_as_json(output: object, expected: object, equal: bool) -> None:
    assert same(output, expected) is equal

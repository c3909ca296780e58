"""Programs that go wrong in every way: with walls and without they get the same verdict and cost others nothing."""

import os
import sys
from pathlib import Path

import pytest
from walled import as_ordinary_user, needs_ordinary, needs_root, processes, with_and_without

from runner.data.questions import Test
from runner.evaluation.sandbox import CallProgram, Example, Isolation, ScriptProgram, Verdict, plain, run_programs
from runner.evaluation.sandbox.users import LOWEST
from runner.evaluation.sandbox.walls import ENVIRONMENT

ADD_ONE = (Test((3,), 4), Test((0,), 1))
RIGHT = "def solve(n):\n    return n + 1\n"
NOISY = "import sys\nprint('a' * 100000)\nsys.stderr.write('b')\n" + RIGHT
THREADS = "import threading\ndef solve(n):\n    e = threading.Event()\n    ts = [threading.Thread(target=e.wait) for _ in range({})]\n    try:\n        [t.start() for t in ts]\n    finally:\n        e.set()\n    return n + 1\n"  # noqa: E501
HOSTILE = {
    "endless loop": ("def solve(n):\n    while True:\n        pass", "timeout"),
    "sleep": ("import time\ndef solve(n):\n    time.sleep(60)", "timeout"),
    "fork bomb": ("import os\ndef solve(n):\n    while True:\n        os.fork()", "exception"),
    "threads": (THREADS.format(500), "exception"),
    "os._exit": ("import os\ndef solve(n):\n    os._exit(0)", "exception"),
    "sys.exit": ("import sys\ndef solve(n):\n    sys.exit(0)", "exception"),
    "exit at import": ("raise SystemExit(0)", "exception"),
    "fake results": ("print('answered\\n[4, 1]')\ndef solve(n):\n    print('answered\\n[4, 1]')", "wrong answer"),
    "huge output": ("def solve(n):\n    return 'x' * (1 << 24)", "exception"),
    "huge memory": ("def solve(n):\n    return bytearray(1 << 33)", "memory"),
    "deep recursion": ("def solve(n):\n    return solve(n)", "exception"),
    "equal to all": (
        "class A(int):\n    __hash__ = int.__hash__\n    def __eq__(self, other):\n        return True\n"
        "def solve(n):\n    return A(n)",
        "wrong answer",
    ),
    "not JSON": ("def solve(n):\n    return {n}", "exception"),
    "endless number": ("def solve(n):\n    return 10 ** 9000", "exception"),
    "nan": ("def solve(n):\n    return float('nan')", "wrong answer"),
    "syntax": ("def solve(n):\n    return (", "syntax"),
    "no solve": ("x = 1", "exception"),
    "wrong": ("def solve(n):\n    return n", "wrong answer"),
    "reads the answers": ("import sys\ndef solve(n):\n    return sys.stdin.read()", "wrong answer"),
}
ORDINARY_RUN = """
import json, sys
from runner.data.questions import Test
from runner.evaluation.sandbox import CallProgram, run_programs
asked = json.load(sys.stdin)
programs = [CallProgram(code, (Test((3,), 4), Test((0,), 1))) for code in asked["codes"]]
print(json.dumps([v.outcome for v in run_programs(programs, timeout_s=1.5, walls=asked["walls"])]))
"""


def run(code: str, walls: Isolation = "none") -> Verdict:
    return run_programs([CallProgram(code, ADD_ONE)], walls=walls, timeout_s=1.5)[0]


def printed(code: str) -> str:
    """What a script prints that runs without walls."""
    verdict = run_programs([ScriptProgram(code, (Example("", "?"),))], walls="none")[0]
    assert verdict.outcome == "wrong answer", verdict
    return verdict.detail.partition("printed '")[2].partition("\\n'")[0]


@with_and_without
def test_hostile_programs_get_their_verdicts_and_cost_their_neighbours_nothing(walls: Isolation) -> None:
    codes = [mixed for attacked, _ in HOSTILE.values() for mixed in (attacked, RIGHT)]
    programs = [CallProgram(f"{code}\n# {index}\n", ADD_ONE) for index, code in enumerate(codes)]
    outcomes = [verdict.outcome for verdict in run_programs(programs, timeout_s=1.5, walls=walls)]
    assert dict(zip(HOSTILE, outcomes[::2], strict=True)) == {name: outcome for name, (_, outcome) in HOSTILE.items()}
    assert set(outcomes[1::2]) == {"passed"}


@needs_ordinary
@with_and_without
def test_an_ordinary_user_gets_the_same_verdicts(walls: Isolation) -> None:
    codes = [RIGHT, NOISY, THREADS.format(20), *(code for code, _ in HOSTILE.values())]
    expected = ["passed"] * 3 + [outcome for _, outcome in HOSTILE.values()]
    assert as_ordinary_user(ORDINARY_RUN, {"codes": codes, "walls": walls}, {}) == expected


@with_and_without
def test_noise_and_threads_are_harmless(walls: Isolation) -> None:
    assert run(NOISY, walls).passed
    assert run(THREADS.format(20), walls).passed


def test_without_walls_a_program_starts_with_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert printed("import os; print(*sorted(os.environ))") == "HOME LC_ALL MALLOC_ARENA_MAX PATH TMPDIR"
    assert printed("import os; print(os.getsid(0) == os.getpid(), os.listdir())") == "True []"
    status = printed(
        "print(*[line.split()[1] for line in open('/proc/self/status') if line[:6] in ('NoNewP', 'Seccom')])"
    )
    assert status.split()[:2] == ["1", "2"]


@needs_root
def test_without_walls_root_becomes_a_user_that_nobody_is() -> None:
    users = printed("import os; print(*os.getresuid(), *os.getresgid(), *os.getgroups())").split()
    assert len(users) == 6
    assert len(set(users)) == 1
    assert int(users[0]) >= LOWEST
    assert printed("import os\ntry: os.setuid(0)\nexcept OSError: print('refused')") == "refused"


@needs_root
def test_without_walls_a_user_gets_at_python_in_a_folder_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "open_to_all", lambda _folder: False)
    assert run("import fractions, _json, collections.abc, unittest\n'x'.encode('latin-1')\n" + RIGHT).passed
    assert "/proc/self/fd/" in printed("import fractions; print(fractions.__file__)")


def test_where_the_kernel_takes_no_filter_no_process_can_be_made_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "machine", lambda: None)
    assert run(RIGHT).passed
    assert "Resource temporarily unavailable" in run("import os\ndef solve(n):\n    os.fork()\n").detail


@with_and_without
def test_no_process_of_a_program_is_left(walls: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"left-behind-{os.getpid()}"
    monkeypatch.setitem(ENVIRONMENT, "MARK", mark)
    code = (
        "import os\ndef solve(n):\n    try:\n        if os.fork() == 0:\n            os.setsid()\n"
        "            os.execvp('sleep', ['sleep', '60'])\n    except OSError:\n        pass\n    return n + 1"
    )
    assert run(code, walls).passed
    assert not [process for process in processes() if mark.encode() in process]


def test_no_file_of_a_program_is_left() -> None:
    found = printed("import os, sys; open('note', 'w').write('x'); print(os.getcwd(), sys.path[-1], len(os.listdir()))")
    scratch, modules, files = found.split()
    assert files == "1"
    assert scratch.startswith("/tmp/sandbox-scratch-")
    assert not Path(scratch).exists()
    assert not Path(modules).exists()


def test_the_interpreter_is_the_one_under_the_virtual_environment() -> None:
    assert printed("import sys; print(*sys.version_info[:2])") == " ".join(map(str, sys.version_info[:2]))

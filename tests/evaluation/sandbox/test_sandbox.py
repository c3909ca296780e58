"""What honest programs get, and what the sandbox promises about time, size and processes.

Escapes and cheats have modules of their own.
"""

import ast
import json
import os
import pickle
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from walled import processes, with_and_without

from runner.data.questions import Test
from runner.errors import UserError
from runner.evaluation.sandbox import (
    AssertedProgram,
    CallProgram,
    Example,
    Isolation,
    ScriptProgram,
    Verdict,
    asked_names,
    check_sandbox,
    run_programs,
    sandbox_works,
)
from runner.evaluation.sandbox.syscalls import DENIED
from runner.evaluation.sandbox.walls import ENVIRONMENT

DATA = Path(os.environ.get("RUNNER_TEST_DATA", ""))
needs_data = pytest.mark.skipif(
    not (DATA / "mbpp.jsonl").exists(), reason="RUNNER_TEST_DATA names no folder with mbpp.jsonl"
)


def rows(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def script(code: str, walls: Isolation, stdin: str = "", stdout: str = "", timeout_s: float = 4.0) -> Verdict:
    return run_programs([ScriptProgram(code, (Example(stdin, stdout),))], timeout_s=timeout_s, walls=walls)[0]


def asserted(code: str, tests: str, walls: Isolation) -> Verdict:
    return run_programs([AssertedProgram(code, tests, asked_names(code, tests))], walls=walls)[0]


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """Whether the sandbox works is asked once a process; here it is asked in changed circumstances."""
    sandbox_works.cache_clear()
    yield
    sandbox_works.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_without_bubblewrap_the_user_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert sandbox_works() == "bubblewrap (bwrap) is not installed"
    with pytest.raises(UserError, match=r"apt-get install bubblewrap.*--unsafe-no-sandbox") as caught:
        check_sandbox()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.usefixtures("asked_anew")
def test_a_bubblewrap_that_cannot_work_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:  # an ordinary user cannot look into tmp_path
        broken = Path(folder, "bwrap")
        broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
        for path in (broken, broken.parent):
            path.chmod(0o755)
        monkeypatch.setenv("PATH", folder)
        with pytest.raises(UserError, match=r"No permissions to create new namespace.*--unsafe-no-sandbox"):
            check_sandbox()
        assert sandbox_works() == "the sandbox did not start (bwrap: No permissions to create new namespace)"


@with_and_without
class TestHonest:
    def test_verdicts_come_in_order_and_say_what_was_wrong(self, walls: Isolation) -> None:
        codes = ["return n + 1", "return n", "return 1 / 0", "return (", "return 'x' * (1 << 33)", "while True: pass"]
        programs = [CallProgram(f"def solve(n):\n    {code}\n", (Test((1,), 2),)) for code in codes]
        verdicts = run_programs(programs, timeout_s=1.0, walls=walls)
        assert [v.outcome for v in verdicts] == ["passed", "wrong answer", "exception", "syntax", "memory", "timeout"]
        assert "gave 1, not 2" in verdicts[1].detail
        assert "ZeroDivisionError" in verdicts[2].detail

    def test_whitespace_does_not_matter_and_all_else_does(self, walls: Isolation) -> None:
        assert script("print(' 1  2 ')\nprint()\nprint(3)", walls, stdout="1 2\n3").passed
        assert script("print(12)", walls, stdout="1 2").outcome == "wrong answer"

    def test_scripts_may_use_threads_recursion_and_exit(self, walls: Isolation) -> None:
        code = (
            "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
            "def depth(n):\n    return 0 if n == 0 else 1 + depth(n - 1)\n"
            "def main():\n    print(depth(int(sys.stdin.readline())))\n"
            "t = threading.Thread(target=main)\nt.start()\nt.join()\nexit()\n"
        )
        assert script(code, walls, "20000\n", "20000").passed

    def test_a_script_gets_a_large_input(self, walls: Isolation) -> None:
        assert script("print(sum(map(int, open(0).read().split())))", walls, "1 " * 500_000, "500000").passed

    def test_values_of_every_plain_type_cross_both_ways(self, walls: Isolation) -> None:
        values = "[None, True, 1, 1.5, 'é', b'x', (1, (2,)), {1, 2}, frozenset({3}), {(1, 2): [3]}, 2j, int]"
        assert asserted("def same(x):\n    return x\n", f"v = {values}\nassert same(v) == v\n", walls).passed
        assert (
            asserted("def same(x):\n    return x\n", "assert same(x=(1, 2)) == [1, 2]\n", walls).outcome
            == "wrong answer"
        )

    def test_objects_of_the_program_can_be_used_by_the_tests(self, walls: Isolation) -> None:
        code = (
            "class Node:\n    def __init__(self, value):\n        self.value, self.left = value, None\n"
            "def depth(node):\n    return 0 if node is None else 1 + depth(node.left)\n"
            "def count(n):\n    yield from range(n)\n"
        )
        tests = (
            "root = Node(1)\nroot.left = Node(2)\nassert depth(root) == 2\nassert root.left.value == 2\n"
            "assert list(count(3)) == [0, 1, 2]\nassert root == root and root != root.left\n"
        )
        assert asserted(code, tests, walls).passed

    def test_an_exception_of_the_program_reaches_the_tests(self, walls: Isolation) -> None:
        tests = "try:\n    f()\nexcept ValueError as error:\n    assert 'why' in str(error)\nelse:\n    assert False\n"
        assert asserted("def f():\n    raise ValueError('why')\n", tests, walls).passed

    @needs_data
    def test_reference_solutions_pass(self, walls: Isolation) -> None:
        scripts = [row for row in rows("apps_samples.jsonl") if not row["starter_code"]]
        assert len(scripts) > 2
        for row in scripts:
            solutions, tests = row["solutions"], row["input_output"]
            assert isinstance(solutions, list)
            assert isinstance(tests, dict)
            examples = tuple(map(Example, tests["inputs"], tests["outputs"]))
            assert run_programs([ScriptProgram(solutions[0], examples)], walls=walls)[0].passed, row["id"]

    @needs_data
    def test_a_sample_of_mbpp_passes(self, walls: Isolation) -> None:
        chosen = [row for row in rows("mbpp.jsonl") if row["task_id"] in {1, 126, 367, 533, 596, 601, 927}]
        assert len(chosen) == 7
        for row in chosen:
            assert isinstance(row["test_list"], list)
            tests = "\n".join([str(row["test_setup_code"]), *row["test_list"]])
            assert asserted(str(row["code"]), tests, walls).passed, row["task_id"]


@with_and_without
class TestLimits:
    def test_every_refused_call_is_refused(self, walls: Isolation) -> None:
        code = (
            "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            f"calls = {DENIED!r}\nmachine = int(os.uname().machine == 'aarch64')\n"
            "for name, numbers in calls.items():\n    if numbers[machine] is None: continue\n    ctypes.set_errno(0)\n"
            "    if libc.syscall(numbers[machine], 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1: print(name)\n"
        )
        verdict = script(code, walls, stdout="")
        assert len(DENIED) > 60
        assert verdict.passed, verdict

    def test_a_sleeper_is_ended_in_time(self, walls: Isolation) -> None:
        for code in ("import time\ntime.sleep(60)", "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(60)"):
            started = time.monotonic()
            assert script(code, walls, timeout_s=0.5).outcome == "timeout"
            assert time.monotonic() - started < 3.0

    def test_endless_output_is_cut_on_both_streams(self, walls: Isolation) -> None:
        started = time.monotonic()
        assert "bytes of output" in script("while True: print('x' * 4096)", walls).detail
        assert script("import sys\nwhile True: sys.stderr.write('x' * 4096)", walls, timeout_s=0.5).outcome == "timeout"
        assert time.monotonic() - started < 5.0

    def test_a_program_finds_nothing_of_the_one_before(self, walls: Isolation) -> None:
        code = "import os\nprint(len(os.listdir()))\nopen('left', 'w').write('x')\n#"
        programs = [ScriptProgram(f"{code}{index}", (Example("", "0"),)) for index in range(3)]
        assert all(v.passed for v in run_programs(programs, workers=1, walls=walls))

    def test_nothing_is_left_open_here(self, walls: Isolation) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        run_programs([ScriptProgram(f"print({n})", (Example("", "1"),)) for n in range(4)], walls=walls)
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_no_process_is_left(self, walls: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
        leave_processes_behind(20, walls, monkeypatch)

    @pytest.mark.long
    def test_no_process_is_left_of_many(self, walls: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test before it, six times as often."""
        leave_processes_behind(120, walls, monkeypatch)


def leave_processes_behind(count: int, walls: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mostly programs that end, some that do not, some that try to leave a child; all carry a mark."""
    mark = f"left-behind-{os.getpid()}"
    monkeypatch.setitem(ENVIRONMENT, "MARK", mark)
    endless = [
        "import time\ntime.sleep(60)",
        "import os\ntry: os.fork() or os.setsid()\nfinally:\n    while True: pass",
    ]
    codes = ["print(1)"] * 8 + endless
    numbered = [f"{codes[index % len(codes)]}\n#{index}" for index in range(count)]  # equal ones would run once
    verdicts = run_programs([ScriptProgram(code, (Example("", "1"),)) for code in numbered], timeout_s=0.5, walls=walls)
    assert sum(verdict.passed for verdict in verdicts) == count * 8 // 10
    assert not [process for process in processes() if mark.encode() in process]
    fields = [read(file).split() for file in Path("/proc").glob("[0-9]*/stat")]
    assert fields
    assert not [each for each in fields if each[1:2] == ["(bwrap)"] and each[3] == str(os.getpid())]


def read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it ended meanwhile
        return ""


def test_only_names_that_the_reference_defines_and_the_tests_use_are_asked_for() -> None:
    reference = "import sys\nR = 3\ndef sum(a, b):\n    return a + b\ndef other():\n    pass\n"
    assert asked_names(reference, "assert sum(R, 1) == abs(4)") == ("R", "sum")


def test_the_numbers_of_the_calls_are_the_kernels() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip(f"no {header}")
    words = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_")]
    numbers = {name.removeprefix("__NR_"): ast.literal_eval(value) for _, name, value in words}
    assert {name: numbers[name] for name in DENIED} == {name: pair[0] for name, pair in DENIED.items()}

"""Programs that look for a pass without the right answer: none is given, by any of the three kinds of test.

Escapes from the box are in ``test_escapes``.
"""

import pytest
from walled import needs_sandbox, with_and_without

from runner.data.questions import Test
from runner.evaluation.sandbox import (
    AssertedProgram,
    CallProgram,
    Example,
    Isolation,
    Program,
    ScriptProgram,
    run_programs,
)

ALWAYS_EQUAL = (
    "class A({base}):\n    __hash__ = object.__hash__\n"
    "    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n"
    "    __bool__ = lambda s: True\n    __abs__ = lambda s: 0\n    __sub__ = __rsub__ = lambda s, o: 0\n"
)
F = "def f(n):\n    return {}\n"
TALKS = (
    "import os, json\ndef line(m):\n    for fd in range(64):\n"
    "        try: os.write(fd, json.dumps(m).encode() + b'\\n')\n"
    "        except OSError: pass\n"
)
CHEATS = {
    "equal to all": ALWAYS_EQUAL.format(base="object") + F.format("A()"),
    "an int equal to all": ALWAYS_EQUAL.format(base="int") + F.format("A(7)"),
    "a str equal to all": ALWAYS_EQUAL.format(base="str") + F.format("A('x')"),
    "a list equal to all": ALWAYS_EQUAL.format(base="list") + F.format("A()"),
    "a dict equal to all": ALWAYS_EQUAL.format(base="dict") + F.format("A()"),
    "a float equal to all": ALWAYS_EQUAL.format(base="float") + F.format("A(7)"),
    "ends well in the function": "import os\n" + F.format("os._exit(0)"),
    "ends well at once": "import os\nos._exit(0)\n",
    "raises SystemExit": "import sys\n" + F.format("sys.exit(0)"),
    "ends at exit": "import atexit, os\natexit.register(lambda: os._exit(0))\n" + F.format("exit(0)"),
    "patches sys.exit and os._exit": "import sys, os\nsys.exit = os._exit = lambda *a: None\n" + F.format("None"),
    "prints the markers": F.format("print('passed\\nran through\\nanswered\\nOK') or 0"),
    "writes a pass everywhere": TALKS
    + "line({'kind': 'ran through', 'nonce': ''})\nline({'kind': 'answered', 'outputs': [True, True]})\n"
    + F.format("line({'kind': 'ran through', 'nonce': 'None'})"),
    "answers before it is asked": TALKS + F.format("[line({'value': {'object': 0}}) for _ in range(9)]"),
    "answers twice": TALKS + F.format("line({'value': True}) or line({'value': None})"),
    "names what the tests use": TALKS
    + "line({'names': {'f': 4, 'abs': 0, 'expected': 4, 'AssertionError': 0}})\n"
    + F.format("0"),
    "replaces builtins": "import builtins\nbuiltins.AssertionError = int\nbuiltins.abs = lambda x: 0\n"
    "builtins.len = builtins.all = lambda *a: True\n" + F.format("0"),
    "replaces json": "import json\njson.dumps = lambda *a, **k: 'true'\njson.loads = lambda *a, **k: True\n"
    + F.format("0"),
    "replaces the wire": "import sys\nfor m in list(sys.modules.values()):\n"
    "    if 'sandbox' in getattr(m, '__name__', ''):\n"
    "        m.encode = m.told = lambda *a: True\n" + F.format("0"),
    "replaces its neighbours' frames": "import sys\n"
    + F.format("[x.f_locals.update(asked={}, outputs=[4, 9]) for x in sys._current_frames().values()] and 0"),
    "raises AssertionError": F.format("(_ for _ in ()).throw(AssertionError)"),
    "raises StopIteration": "def f(n):\n    raise StopIteration\n",
    "raises GeneratorExit": "def f(n):\n    raise GeneratorExit\n",
    "raises KeyboardInterrupt": "def f(n):\n    raise KeyboardInterrupt\n",
    "not a number": F.format("float('nan')"),
    "infinite": F.format("float('inf')"),
    "an endless number": F.format("10 ** 100000"),
    "an endless answer": F.format("'x' * (1 << 25)"),
    "an endless list": "def f(n):\n    x = []\n    x.append(x)\n    return x\n",
    "deep recursion": F.format("f(n)"),
    "a deep answer": "def f(n):\n    x = 0\n    for _ in range(900): x = [x]\n    return x\n",
    "a generator": F.format("(x for x in (4, 9))"),
    "an empty generator": F.format("(x for x in ())"),
    "True for one": F.format("True"),
    "reads the tests": "import sys, inspect\n"
    + F.format("[x.f_locals.get('expected') for x in sys._current_frames().values()]"),
    "a mock": "from unittest.mock import MagicMock\nf = MagicMock()\n",
    "is no function": "f = 4\n",
    "is not there": "g = 4\n",
}
# several forms of assertion, for what one lets through another may catch; the right answers are 4 and 9
ASSERTIONS = (
    "assert f(2) == 4\nassert f(3) == 9\n",
    "assert abs(f(2) - 4) < 1e-6\nassert abs(f(3) - 9) < 1e-6\n",
    "assert all(f(n) == n * n for n in (2, 3))\nassert list(map(f, [2, 3])) == [4, 9]\n",
    "def check(candidate):\n    expected = 4\n    assert candidate(2) == expected\n"
    "    assert candidate(3) == 9\ncheck(f)\n",
    "import unittest\nt = unittest.TestCase()\nt.assertEqual(f(2), 4)\nt.assertEqual(f(3), 9)\n",
)
CALLED = (Test((2,), 4), Test((3,), 9))


def forms(code: str) -> list[Program]:
    asserted = [AssertedProgram(code, tests, ("f",)) for tests in ASSERTIONS]
    return [*asserted, CallProgram(code, CALLED, "f"), ScriptProgram(code + "print(f(2))\n", (Example("", "4"),))]


@with_and_without
def test_the_right_answer_passes_in_every_form(walls: Isolation) -> None:
    assert [v.outcome for v in run_programs(forms(F.format("n * n")), walls=walls)] == ["passed"] * 7


def test_these_cheats_do_not_pass_without_walls_either() -> None:
    programs = {cheat: forms(code) for cheat, code in CHEATS.items()}
    verdicts = iter(run_programs([form for each in programs.values() for form in each], timeout_s=2.0, walls="none"))
    passed = {cheat: [next(verdicts).passed for _ in each] for cheat, each in programs.items()}
    assert {cheat for cheat, forms_of_it in passed.items() if any(forms_of_it)} == set()


@needs_sandbox
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_does_not_pass(cheat: str) -> None:
    verdicts = run_programs(forms(CHEATS[cheat]), timeout_s=2.0)
    assert len(verdicts) == 7
    assert not [form for form, verdict in enumerate(verdicts) if verdict.passed]


@with_and_without
def test_a_program_that_ends_its_own_test_is_told_from_one_that_fails(walls: Isolation) -> None:
    codes = ("import os\nos._exit(0)", F.format("0"))
    ended, wrong = run_programs([AssertedProgram(code, ASSERTIONS[0], ("f",)) for code in codes], walls=walls)
    assert (ended.outcome, wrong.outcome) == ("exception", "wrong answer")


@with_and_without
def test_swallowed_errors_of_the_test_code_do_not_hide_the_end_of_the_program(walls: Isolation) -> None:
    tests = "try:\n    f(2)\nexcept Exception:\n    pass\n"
    assert not run_programs([AssertedProgram("import os\ndef f(n):\n    os._exit(0)", tests, ("f",))], walls=walls)[
        0
    ].passed


@with_and_without
def test_test_code_that_leaves_early_is_no_pass(walls: Isolation) -> None:
    tests = "import os, sys\n{}\nassert f(2) == 4\n"
    programs = [AssertedProgram(F.format("0"), tests.format(end), ("f",)) for end in ("sys.exit(0)", "os._exit(0)")]
    assert not [verdict for verdict in run_programs(programs, walls=walls) if verdict.passed]

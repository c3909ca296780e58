"""In which order, how often and against what programs are judged; how an output is compared."""

import pytest
from walled import with_and_without

from runner.data.questions import Test, hidden_tests, rows
from runner.evaluation.sandbox import CallProgram, Isolation, Program, Verdict, judging, run_programs
from runner.evaluation.sandbox.outputs import same
from runner.evaluation.sandbox.walls import Walls


def counted(monkeypatch: pytest.MonkeyPatch, verdicts: dict[str, list[Verdict]]) -> list[str]:
    """Let programs get these verdicts, one after another; the list fills with the code of each that runs."""
    ran: list[str] = []

    def given(_walls: Walls, _timeout_s: float, program: Program) -> Verdict:
        ran.append(program.code)
        return verdicts[program.code].pop(0)

    monkeypatch.setattr(judging, "_judge", given)
    return ran


def test_equal_programs_with_equal_tests_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = counted(monkeypatch, {"a": [Verdict("passed"), Verdict("exception")], "b": [Verdict("wrong answer")]})
    one, true = (Test(([1],), 1),), (Test(([1],), True),)
    programs = [CallProgram("a", one), CallProgram("b", one), CallProgram("a", one), CallProgram("a", true)]
    outcomes = [verdict.outcome for verdict in run_programs(programs, workers=1, walls="none")]
    assert outcomes == ["passed", "wrong answer", "passed", "exception"]  # for True equals 1 and is another output
    assert ran == ["a", "b", "a"]


def test_a_program_that_was_late_runs_once_more_after_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Verdict("timeout")
    ran = counted(monkeypatch, {"busy": [late, Verdict("passed")], "endless": [late, late], "c": [Verdict("passed")]})
    verdicts = run_programs([CallProgram(code, ()) for code in ("busy", "endless", "c")], workers=1, walls="none")
    assert [verdict.outcome for verdict in verdicts] == ["passed", "timeout", "passed"]
    assert ran == ["busy", "endless", "c", "busy", "endless"]


def test_progress_that_raises_lets_no_other_program_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [CallProgram(f"def solve(n):\n    return n + {number}\n", (Test((1,), 1),)) for number in range(40)]
    begun: list[Program] = []
    judge = judging._judge

    def noted(walls: Walls, timeout_s: float, program: Program) -> Verdict:
        begun.append(program)
        return judge(walls, timeout_s, program)

    class Enough(Exception):
        pass

    def stop(judged: int) -> None:
        if judged == 3:
            raise Enough

    monkeypatch.setattr(judging, "_judge", noted)
    with pytest.raises(Enough):
        run_programs(programs, workers=1, walls="none", progress=stop)
    assert 3 <= len(begun) <= 6


def test_progress_counts_every_program_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, {"a": [Verdict("timeout"), Verdict("timeout")], "b": [Verdict("passed")]})
    told: list[int] = []
    programs = [CallProgram(code, ()) for code in ("a", "b", "b", "a")]
    run_programs(programs, workers=1, walls="none", progress=told.append)
    assert told == [2, 4]


def test_no_program_gives_no_verdict() -> None:
    assert run_programs([], walls="none") == []


@with_and_without
def test_a_hundred_built_in_solutions_pass(walls: Isolation) -> None:
    found = list(rows("validation", 102, 17))
    programs = [CallProgram(row["solution"], hidden_tests(row["id"])) for row in found]
    assert len(programs) == 102
    assert [verdict for verdict in run_programs(programs, walls=walls) if not verdict.passed] == []


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

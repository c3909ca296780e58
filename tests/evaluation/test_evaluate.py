"""Evaluation from suite to record: what is asked of which arm, what is counted, what is kept and read again."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from runner.data.questions import Test
from runner.data.template import prompt_text
from runner.errors import UserError
from runner.evaluation import evaluate as evaluating
from runner.evaluation.evaluate import About, Limits, arms_of, evaluate, grade_references, trace_tokens
from runner.evaluation.generation import Completion, Sampling
from runner.evaluation.problems import CallCheck, NativePrompt, Problem, Suite
from runner.evaluation.results import (
    Asking,
    evaluations_in,
    read_answers,
    read_evaluation,
    read_problems,
    write_evaluation,
)
from runner.evaluation.sandbox import Isolation

LIMITS = Limits(batch=4, timeout_s=4.0, walls="none")
ASKING = Asking(samples=1, temperature=0.0, top_p=1.0, max_new_tokens=50, seed=17)
ABOUT = About("demo", "builtin:tiny-starcoder2", "final", "the CPU (2 cores)", "runner evaluate demo")


class Letters:
    """A tokenizer of single characters."""

    bos_ids: tuple[int, ...] = ()
    eos_id = 0
    pad_id = 1

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


class Silent:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def update(self, task: str, done: int, total: int) -> None:
        self.told.append((task, done, total))


class Subject:
    """Two models told apart by a flag, as adapters that are switched off are."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)
        self.encoder = Letters()
        self.tuned = True

    @contextmanager
    def base(self) -> Iterator[nn.Module]:
        self.tuned = False
        yield self.model
        self.tuned = True


def problem(number: int) -> Problem:
    native = NativePrompt(f"# add {number}\ndef solve(n):\n", "function")
    check = CallCheck((Test((1,), 1 + number), Test((5,), 5 + number)))
    return Problem(
        f"add:{number}", f"Add {number}.", check, native, f"def solve(n):\n    return n + {number}\n", "sums"
    )


SUITE = Suite("sums", "held-out", tuple(problem(number) for number in range(4)), "0" * 16, "made up")


def answer(code: str) -> str:
    return f"hm\n</think>\n```python\n{code}```"


def completion(text: str, *, cut: bool = False) -> Completion:
    return Completion(tuple(map(ord, text)), text, cut)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A base that never closes its thinking, continues natively with n + 1, and a tuned model that knows three sums."""
    subject = Subject()

    def complete(
        model: nn.Module, _encoder: Any, prompts: Sequence[str], *, sampling: Sampling, **_: Any
    ) -> list[tuple[Completion, ...]]:
        assert model is subject.model
        drawn = []
        for number, prompt in enumerate(prompts):
            if prompt == SUITE.problems[number].native.text:  # type: ignore[union-attr]  # all have one
                assert not subject.tuned
                given = completion("    return n + 1\nprint(solve(2))\n", cut=True)
            else:
                assert prompt == prompt_text(SUITE.problems[number].statement)
                right = answer(f"def solve(n):\n    return n + {number}\n")
                given = completion(right if number != 2 else answer("def solve(n):\n    return -n\n"))
                given = given if subject.tuned else completion("hm " * 5, cut=number == 0)
            drawn.append((given,) * sampling.samples)
        return drawn

    monkeypatch.setattr(evaluating, "complete", complete)
    return subject


def test_every_arm_is_asked_its_own_way_and_counted(scripted: Subject) -> None:
    progress = Silent()
    found = evaluate(scripted, SUITE, ASKING, LIMITS, ABOUT, progress)
    base, tuned, native = found.evaluation.arms
    assert (base.passed, tuned.passed, native.passed) == ((0, 0, 0, 0), (1, 1, 0, 1), (0, 1, 0, 0))
    assert dict(base.failures) == {"cut": 1, "no think close": 3}
    assert dict(tuned.failures) == {"wrong answer": 1}
    assert (base.cut_share, tuned.cut_share, native.cut_share) == (0.25, 0.0, 1.0)
    paired = found.evaluation.paired
    assert paired is not None
    assert (paired.both, paired.only_first, paired.only_second, paired.neither) == (0, 0, 3, 1)
    assert found.evaluation.isolation == "none"
    assert "no detectable change" in found.evaluation.verdict  # of four problems
    assert {task for task, _, _ in progress.told} >= {"run programs of tuned"}


def test_thinking_is_counted_up_to_its_closing_tag(scripted: Subject) -> None:
    found = evaluate(scripted, SUITE, ASKING, LIMITS, ABOUT, Silent())
    tuned = [each for each in found.answers if each.arm == "tuned"]
    assert {each.trace_tokens for each in tuned} == {len("hm\n</think>")}
    assert {each.trace_tokens for each in found.answers if each.arm != "tuned"} == {None}
    assert all(each.tokens == len(each.text) for each in found.answers)


@pytest.mark.parametrize("text", ["</think>", "a</think>b", "x" * 40 + "</think>" + "y" * 3 + "</think>"])
def test_the_search_for_the_closing_tag_equals_a_walk_through_all_tokens(text: str) -> None:
    ids = [ord(letter) for letter in text]
    walked = next(end for end in range(len(ids) + 1) if "</think>" in text[:end])
    assert trace_tokens(ids, Letters()) == walked


def test_samples_are_told_apart(scripted: Subject) -> None:
    asking = replace(ASKING, samples=3, temperature=0.8)
    found = evaluate(scripted, SUITE, asking, LIMITS, ABOUT, Silent())
    assert [each.sample for each in found.answers[:6]] == [0, 1, 2, 0, 1, 2]
    tuned = found.evaluation.arm("tuned")
    assert tuned is not None
    assert (tuned.samples, tuned.passed) == (3, (3, 3, 0, 3))


def test_the_base_is_not_asked_natively_where_one_problem_has_no_such_form() -> None:
    without = replace(SUITE, problems=(*SUITE.problems[:3], replace(SUITE.problems[3], native=None)))
    assert arms_of(SUITE) == ("base", "tuned", "native")
    assert arms_of(without) == ("base", "tuned")


def test_running_what_is_asked_about_predicts_nothing(scripted: Subject) -> None:
    predicting = replace(SUITE, format="output-prediction")
    found = evaluate(scripted, predicting, ASKING, LIMITS, ABOUT, Silent())
    tuned = found.evaluation.arm("tuned")
    assert tuned is not None
    assert dict(tuned.failures) == {"no prediction": 4}


def test_what_is_written_is_read_again(scripted: Subject, tmp_path: Path) -> None:
    found = evaluate(scripted, SUITE, ASKING, LIMITS, ABOUT, Silent())
    write_evaluation(tmp_path / "sums", found.evaluation, found.answers, found.asked)
    assert evaluations_in(tmp_path) == (tmp_path / "sums",)
    assert read_evaluation(tmp_path / "sums") == found.evaluation
    assert read_answers(tmp_path / "sums") == found.answers
    assert read_problems(tmp_path / "sums") == found.asked
    assert found.asked[1].tests.splitlines() == ["solve(1,) == 2", "solve(5,) == 6"]


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"arms": 3}', "\x00"])
def test_a_damaged_evaluation_is_refused_by_its_file(damage: str, scripted: Subject, tmp_path: Path) -> None:
    found = evaluate(scripted, SUITE, ASKING, LIMITS, ABOUT, Silent())
    write_evaluation(tmp_path, found.evaluation, found.answers, found.asked)
    (tmp_path / "result.json").write_text(damage)
    with pytest.raises(UserError, match=r"result\.json"):
        read_evaluation(tmp_path)
    (tmp_path / "answers.jsonl").write_text(json.dumps({"problem": 1}) + "\n")
    with pytest.raises(UserError, match=r"answers\.jsonl"):
        read_answers(tmp_path)


@pytest.mark.parametrize("walls", ["none"])
def test_references_prove_the_suite(walls: Isolation) -> None:
    judged = grade_references(SUITE, replace(LIMITS, walls=walls), Silent())
    assert [verdict.passed for _, verdict in judged] == [True] * 4
    wrong = replace(SUITE, problems=(replace(SUITE.problems[0], reference="def solve(n):\n    return n + 9\n"),))
    assert [verdict.outcome for _, verdict in grade_references(wrong, LIMITS, Silent())] == ["wrong answer"]
    without = replace(SUITE, problems=(replace(SUITE.problems[0], reference=None),))
    with pytest.raises(UserError, match="no reference solutions"):
        grade_references(without, LIMITS, Silent())

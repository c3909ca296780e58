"""`runner evaluate`: a run's base and tuned model on its own questions and on files, suites proved, mistakes told."""

import json
from pathlib import Path

import pytest

import runner.cli.evaluate
from runner.cli.app import app
from runner.cli.evaluate import evaluation_name
from runner.errors import UserError
from runner.evaluation.results import read_answers, read_evaluation
from runner.runs import RunFolder
from typed import output_of

UNSAFE = "--unsafe-no-sandbox"  # what is tested here holds with and without walls


@pytest.fixture(autouse=True)
def _cached(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(runner.cli.evaluate, "CACHE", cache)


def run(*words: str) -> str:
    return output_of(app, ["evaluate", *words])


def of(folder: RunFolder, *words: str) -> str:
    return run(folder.name, "--storage", str(folder.root.parent), UNSAFE, *words)


def mbpp_file(place: Path, *, code: str = "def add(a, b):\n    return a + b") -> Path:
    row = {"task_id": 11, "text": "Write a function to add two numbers.", "code": code}
    row |= {"test_list": ["assert add(1, 2) == 3"], "test_setup_code": "", "challenge_test_list": []}
    place.write_text(json.dumps(row) + "\n")
    return place


def test_a_runs_own_questions_are_asked_of_base_and_tuned_model(small_run: RunFolder) -> None:
    out = of(small_run, "--limit", "3", "--max-new-tokens", "24", "--batch", "2")
    kept = small_run.root / "evaluations" / "held-out"
    found = read_evaluation(kept)
    assert [arm.arm for arm in found.arms] == ["base", "tuned", "native"]
    assert (found.suite.problems, found.asking.max_new_tokens, found.isolation) == (3, 24, "none")
    answers = read_answers(kept)
    assert len(answers) == 9
    assert all(answer.tokens <= 24 for answer in answers)
    assert found.verdict.split()[0] in " ".join(out.split())
    assert (small_run.root / "report.html").is_file()
    assert str(kept) in out


def test_greedy_answers_are_the_same_whatever_is_asked_at_once(small_run: RunFolder) -> None:
    texts = []
    for batch in ("1", "3"):
        of(small_run, "--limit", "3", "--max-new-tokens", "12", "--batch", batch)
        answers = read_answers(small_run.root / "evaluations" / "held-out")
        texts.append([(answer.problem, answer.arm, answer.text) for answer in answers])
    assert texts[0] == texts[1]


def test_a_file_is_asked_beside_them_with_samples(small_run: RunFolder, tmp_path: Path) -> None:
    file = mbpp_file(tmp_path / "adding.jsonl")
    of(small_run, "--suite", str(file), "--samples", "2", "--max-new-tokens", "8", "--weights", "best")
    found = read_evaluation(small_run.root / "evaluations" / "adding-x2-best")
    assert (found.weights, found.asking.samples, found.asking.temperature, found.asking.top_p) == ("best", 2, 0.8, 0.95)
    assert set(found.arms[0].pass_at) == {1, 2}


def test_reference_solutions_prove_a_suite_without_a_run(tmp_path: Path) -> None:
    assert "1 of 1 pass" in run("--reference", str(mbpp_file(tmp_path / "right.jsonl")), UNSAFE)
    wrong = mbpp_file(tmp_path / "wrong.jsonl", code="def add(a, b):\n    return a - b")
    with pytest.raises(UserError, match="1 of 1 reference solutions fail"):
        run("--reference", str(wrong), UNSAFE)


def test_the_newest_evaluation_of_a_kind_takes_the_place_of_the_one_before() -> None:
    assert evaluation_name("held-out", 1, "final") == "held-out"
    assert evaluation_name("mbpp", 10, "best") == "mbpp-x10-best"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((UNSAFE,), "no run is named"),
        (("nowhere", UNSAFE), "there is no run nowhere"),
        (("../up", UNSAFE), "the run's name is"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        run(*words, "--storage", str(tmp_path))


def test_a_missing_suite_is_told_before_a_model_is_loaded(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("runner.train.inference.load_for_inference", never)
    with pytest.raises(UserError, match=r"none\.jsonl"):
        of(small_run, "--suite", str(tmp_path / "none.jsonl"))


def test_an_answer_longer_than_the_model_takes_is_refused(small_run: RunFolder) -> None:
    with pytest.raises(UserError, match="no problem leaves room for an answer of 100,000 tokens"):
        of(small_run, "--limit", "2", "--max-new-tokens", "100000")

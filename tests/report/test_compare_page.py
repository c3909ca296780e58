"""Runs side by side: what differs, which is better, and when that cannot be told."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from page_reading import CHROMIUM, Reading, in_chromium
from report_fakes import FINGERPRINT, JOB, graded, made_up_evaluation, made_up_run, training
from runner.evaluation.results import Estimate
from runner.report.compare_page import compare_page_html, write_compare_page
from runner.report.evaluated import Evaluated
from runner.report.pairing import comparison_verdict, duel, shared_suites
from runner.report.run_page import RunPage
from runner.runs import JSON


def tuned_solves(solved: Sequence[bool], fingerprint: str = FINGERPRINT) -> Evaluated:
    """An evaluation of which the tuned model solves just these problems, the base none."""
    found = made_up_evaluation({"neither": len(solved)})
    names = [problem.problem for problem in found.problems]
    answers = [graded(name, "base", False) for name in names]
    answers += [graded(name, "tuned", passed) for name, passed in zip(names, solved, strict=True)]
    share = Estimate(sum(solved) / len(solved), 0.1, 0.9)
    base, tuned = found.evaluation.arms
    tuned = replace(tuned, passed=tuple(map(int, solved)), pass_at={1: share})
    suite = replace(found.evaluation.suite, fingerprint=fingerprint)
    return replace(found, answers=tuple(answers), evaluation=replace(found.evaluation, arms=(base, tuned), suite=suite))


def page_of(storage: Path, name: str, *evaluations: Evaluated, data: str = "f" * 32, gain: float = 4.0) -> RunPage:
    job: dict[str, JSON] = {**JOB, "lora": {"rank": 4 if name == "a" else 16}}
    run = made_up_run(storage, training(300, gain=gain), name=name, job=job, data=data)
    return RunPage(run, evaluations, again=f"runner train runs/{name}/job.yaml --name {name}-2")


def words_of(pages: Sequence[RunPage]) -> str:
    reading = Reading(compare_page_html(pages))
    assert reading.open == []
    return " ".join(reading.words)


def test_a_clear_difference_is_told_with_its_counts(tmp_path: Path) -> None:
    much, little = [True] * 30 + [False] * 10, [True] * 8 + [False] * 30 + [True] * 2
    pages = [page_of(tmp_path, "a", tuned_solves(little)), page_of(tmp_path, "b", tuned_solves(much))]
    verdict = comparison_verdict(pages)
    assert verdict.startswith("On held-out b solves more than a: pass@1 75.0 % against 25.0 %, difference +50.0 (")
    assert "of 40 problems only b solves 22, only a 2, p < 0.001." in verdict
    found = duel(shared_suites(pages)[0])
    assert (found.both, found.only_best, found.only_second, found.neither) == (8, 22, 2, 8)
    assert found.p_value == pytest.approx(2 * sum(math.comb(24, i) for i in range(3)) / 2**24)


def test_a_small_difference_is_said_to_be_none(tmp_path: Path) -> None:
    one, other = [True] * 21 + [False] * 19, [False] * 4 + [True] * 16 + [False] * 20
    pages = [page_of(tmp_path, "a", tuned_solves(one)), page_of(tmp_path, "b", tuned_solves(other))]
    verdict = comparison_verdict(pages)
    assert verdict.startswith("On held-out no difference between a and b can be detected: pass@1 52.5 % against 40.0 %")
    assert "only a solves 5, only b 0, p = 0.062" in verdict  # 2 / 2**5


def test_chance_is_counted_for_every_pair_of_runs(tmp_path: Path) -> None:
    solved = [[True] * 30 + [False] * 10, [True] * 22 + [False] * 18, [True] * 3 + [False] * 37]
    pages = [page_of(tmp_path, name, tuned_solves(row)) for name, row in zip("abc", solved, strict=True)]
    found = duel(shared_suites(pages)[0])
    assert (found.best.run, found.second.run, found.pairs) == ("a", "b", 3)
    assert found.p_value == pytest.approx(3 * 2 / 2**8)
    assert "for 3 pairs of runs" in comparison_verdict(pages)


def test_runs_of_different_suites_are_not_compared_by_them(tmp_path: Path) -> None:
    pages = [
        page_of(tmp_path, "a", tuned_solves([True] * 8)),
        page_of(tmp_path, "b", tuned_solves([False] * 8, fingerprint="another")),
    ]
    assert [len(entries) for entries in shared_suites(pages)] == [1, 1]
    assert "ability was not measured on one suite in the same way" in comparison_verdict(pages)


def test_runs_asked_in_another_way_are_not_compared_by_it(tmp_path: Path) -> None:
    plain = tuned_solves([True] * 8)
    asking = replace(plain.evaluation.asking, max_new_tokens=4096)
    longer = replace(plain, evaluation=replace(plain.evaluation, asking=asking))
    pages = [page_of(tmp_path, "a", plain), page_of(tmp_path, "b", longer)]
    assert [len(entries) for entries in shared_suites(pages)] == [1, 1]


def test_losses_of_the_same_data_are_compared_but_no_more_is_claimed(tmp_path: Path) -> None:
    pages = [page_of(tmp_path, "a", gain=3.0), page_of(tmp_path, "b", gain=6.0)]
    verdict = comparison_verdict(pages)
    assert verdict.startswith("a has the lowest validation loss: 1.0100 against 1.0200 nats a token of b")
    assert "cannot tell it from luck" in verdict


def test_losses_of_different_data_are_not_compared(tmp_path: Path) -> None:
    pages = [page_of(tmp_path, "a"), page_of(tmp_path, "b", data="e" * 32)]
    assert comparison_verdict(pages).startswith("Nothing can be compared: the losses are of different data")


def test_only_keys_that_differ_are_listed(tmp_path: Path) -> None:
    text = compare_page_html([page_of(tmp_path, "a"), page_of(tmp_path, "b")])
    rows = text.partition("Keys that differ</caption>")[2].partition("</tbody>")[0].partition("<tbody>")[2]
    assert rows == "<tr><td>lora.rank</td><td>4</td><td>16</td></tr>"


def test_page_has_every_run_its_numbers_and_curves(tmp_path: Path) -> None:
    pages = [page_of(tmp_path, name, tuned_solves([True] * 6 + [False] * 4)) for name in ("a", "b")]
    words = words_of(pages)
    for said in ("60.0 % (10.0-90.0)", "2,000", "1.50", "a card", "runner train runs/b/job.yaml --name b-2", "1.0133"):
        assert said in words, said
    assert compare_page_html(pages).count("<svg") == 2 * 4  # pass@1, who solved what, two losses; in two layouts


def test_one_run_is_compared_with_its_base(tmp_path: Path) -> None:
    words = words_of([page_of(tmp_path, "a", made_up_evaluation({"newly": 4, "neither": 4}))])
    assert "On held-out the tuned model is better: 4 newly solved, 0 lost." in words
    assert "What differs" not in words


def test_runs_without_a_record_give_a_page(tmp_path: Path) -> None:
    pages = [RunPage(made_up_run(tmp_path, [], name=name, state="running")) for name in ("a", "b")]
    assert "fewer than two runs have a validation loss" in words_of(pages)


def test_same_runs_give_the_same_files(tmp_path: Path) -> None:
    pages = [page_of(tmp_path / "runs", name, tuned_solves([True, False] * 9)) for name in ("a", "b")]
    written = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        files = write_compare_page(tmp_path / place / "compare.html", pages)
        written.append({file.name: file.read_bytes() for file in files})
    assert written[0] == written[1]
    plots = {"held-out-pass-1", "held-out-wins", "validation", "training"}
    assert {name for name in written[0] if name.endswith(".svg")} == {f"{plot}.svg" for plot in plots}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_page_fits_screens_of_any_width(width: int, dark: bool, tmp_path: Path) -> None:
    pages = [page_of(tmp_path / "runs", "n" * 60 + name, tuned_solves([True, False] * 9)) for name in "abcdefghi"]
    measure = "[root.clientWidth, root.scrollWidth, faults]"
    found = in_chromium(compare_page_html(pages), measure, tmp_path, width=width, dark=dark)
    assert found[0] == width
    assert found[1] <= width
    assert found[2] == []

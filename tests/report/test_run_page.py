"""The page of a run: whole, self-contained, escaped, the same every time, readable on a telephone."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from page_reading import CHROMIUM, Reading, in_chromium
from report_fakes import made_up_evaluation, made_up_ledger, made_up_run, training
from runner.evaluation.results import write_evaluation
from runner.report import Command
from runner.report.drawing import LIGHT
from runner.report.evaluated import Evaluated, ordered, read_evaluated
from runner.report.png import MARGIN, RENDERER, can_render, flat
from runner.report.run_page import RunPage, run_page_html, run_plots, write_run_page
from runner.runs import Record

EVIL = "</script><script>alert(\"1\")</script> & </pre><b>'bold'"
COUNTS = {"newly": 5, "lost": 2, "both": 3, "neither": 4}


def page_of(storage: Path, *evaluations: Evaluated, steps: int = 800) -> RunPage:
    following = Command("runner export demo", "its weights for other programs")
    run = made_up_run(storage, training(steps))
    again = "runner train runs/demo/job.yaml --name demo-2"
    return RunPage(run, ordered(evaluations), made_up_ledger(), "runner evaluate demo", again, (following,))


def solved(step: int, count: int) -> Record:
    return {"kind": "passes", "step": step, "solved": count, "questions": 100}


def words_of(text: str) -> str:
    return " ".join(Reading(text).words)


def test_page_has_verdict_figures_plots_changes_cards_and_commands(tmp_path: Path) -> None:
    found = made_up_evaluation(COUNTS)
    text = run_page_html(page_of(tmp_path, found))
    reading = Reading(text)
    assert reading.open == []
    words = " ".join(reading.words)
    assert "On held-out the tuned model is better" in words
    assert "5 newly solved, 2 lost." in words
    for said in ("57.1 %", "47.1-67.1; base 35.7 % (25.7-45.7)", "4.0000 before", "2,000", "1.50 GiB", "3 min 20 s"):
        assert said in words, said
    for said in (
        "100 of 130 read",
        "21 too long, 9 no code",
        "mit 60, apache-2.0 40",
        "f" * 32,
        "two shards were absent",
    ):
        assert said in words, said
    for said in ("runner export demo", "runner train runs/demo/job.yaml --name demo-2", "runner evaluate demo --suite"):
        assert said in words, said
    for said in ("greedy, seed 17", "192 tokens", "bubblewrap", "2 too long", "plateau: 50 steps gained <0.01"):
        assert said in words, said
    svgs = [attributes for tag, attributes in reading.tags if tag == "svg"]
    assert len(svgs) == 2 * 9  # pass@k, lengths, groups, failures, wins, loss, parts, speed, memory; two layouts
    assert "step 500" in words
    assert "After step 500 the validation loss fell by 0.0030" in words  # 4 / 500 - 4 / 800


def test_every_problem_that_changed_sides_is_named_once_in_the_list(tmp_path: Path) -> None:
    found = made_up_evaluation(COUNTS)
    text = run_page_html(page_of(tmp_path, found))
    rows = text.partition("7 problems changed sides</caption>")[2].partition("</table>")[0]
    for number in range(14):
        assert rows.count(f"<td>held-out/{number}</td>") == (number < 7), number
    assert rows.count("<td>newly solved</td>") == 5
    assert rows.count("<td>lost</td>") == 2


def test_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = run_page_html(page_of(tmp_path, made_up_evaluation(COUNTS)))
    without_names = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|@import|src=", without_names)
    assert {tag for tag, _ in Reading(page).tags}.isdisjoint({"link", "img", "iframe", "object", "base", "form"})


def test_addresses_in_answers_stay_text(tmp_path: Path) -> None:
    found = made_up_evaluation(COUNTS, code="import requests\nrequests.get('https://example.org/a.js')")
    reading = Reading(run_page_html(page_of(tmp_path, found)))
    assert "https://example.org/a.js" in "".join(reading.words)
    assert not [attributes for _, attributes in reading.tags if "src" in attributes or "href" in attributes]


@pytest.mark.parametrize(
    "field", ["text", "thinking", "code", "detail", "outcome", "problem", "statement", "tests", "command", "name"]
)
def test_texts_of_models_and_files_are_shown_and_not_run(field: str, tmp_path: Path) -> None:
    found = made_up_evaluation({"neither": 3})
    in_text = {"text": {"text": EVIL, "code": ""}, "thinking": {"text": f"<think>{EVIL}</think>done"}}
    changes: dict[str, Any] = in_text.get(field, {field: EVIL})
    if field in ("text", "thinking", "code", "detail", "outcome"):
        found = replace(found, answers=tuple(replace(answer, **changes) for answer in found.answers))
    elif field in ("statement", "tests"):
        found = replace(found, problems=tuple(replace(problem, **changes) for problem in found.problems))
    elif field == "problem":
        renamed = tuple(replace(answer, problem=answer.problem + EVIL) for answer in found.answers)
        problems = tuple(replace(problem, problem=problem.problem + EVIL) for problem in found.problems)
        found = replace(found, answers=renamed, problems=problems)
    elif field == "command":
        found = replace(found, evaluation=replace(found.evaluation, command=EVIL))
    else:
        suite = replace(found.evaluation.suite, name=EVIL)
        found = replace(found, evaluation=replace(found.evaluation, suite=suite))
    text = run_page_html(page_of(tmp_path, found, steps=120))
    assert "<script>alert" not in text
    reading = Reading(text)
    assert EVIL in "".join(reading.words)
    assert reading.open == []
    assert [tag for tag, _ in reading.tags].count("script") == 1
    assert "b" not in [tag for tag, _ in reading.tags]


def test_page_without_evaluation_says_that_ability_was_not_measured(tmp_path: Path) -> None:
    words = words_of(run_page_html(page_of(tmp_path)))
    assert "The validation loss fell from 4.0000 to 1.0050 nats a token by step 800" in words
    assert "ability was not measured; to measure it, type runner evaluate demo." in words
    assert "What it solves" not in words


def test_page_without_evaluation_tells_what_training_counted(tmp_path: Path) -> None:
    page = RunPage(made_up_run(tmp_path, [*training(120), solved(0, 2), solved(120, 70)]))
    words = words_of(run_page_html(page))
    assert "The tuned model is better on held-out questions" in words
    assert "2 of 100 solved before (95 % interval 0.6-7.0 %), 70 of 100 after (95 % interval 60.4-78.1 %)" in words
    even = RunPage(made_up_run(tmp_path, [solved(0, 2), solved(120, 5)], name="even"))
    assert "No clear change on held-out questions" in words_of(run_page_html(even))


def test_page_of_a_run_that_was_measured_once_tells_at_which_step(tmp_path: Path) -> None:
    validation: Record = {"kind": "validation", "step": 0, "loss": 4.0}
    page = RunPage(made_up_run(tmp_path, [validation, solved(0, 2)], state="stopped"))
    words = words_of(run_page_html(page))
    assert "validation loss 4.0000 at step 0" in words
    assert "solved 2 of 100 held-out questions at step 0" in words
    assert "Nothing can be said yet" in words
    assert "before" not in words


@pytest.mark.parametrize("records", [0, 1, 2, 30])
def test_page_of_an_unfinished_run_has_what_there_is(records: int, tmp_path: Path) -> None:
    run = made_up_run(tmp_path, training(120)[:records], state="stopped")
    reading = Reading(run_page_html(RunPage(run, evaluate="runner evaluate demo")))
    assert reading.open == []
    words = " ".join(reading.words)
    assert "stopped, can be resumed at step" in words
    assert "not measured" in words
    assert "the prepared data is not in the cache" in words
    assert sum(tag == "svg" for tag, _ in reading.tags) == {0: 0, 1: 0, 2: 4, 30: 8}[records]


def test_programs_that_ran_without_walls_are_said_so(tmp_path: Path) -> None:
    found = made_up_evaluation(COUNTS)
    found = replace(found, evaluation=replace(found.evaluation, isolation="none"))
    assert "NOT ISOLATED" in words_of(run_page_html(page_of(tmp_path, found, steps=20)))


def test_strong_tests_come_before_weak_ones_and_new_ones_before_old_ones() -> None:
    old = made_up_evaluation(COUNTS, suite="old")
    new = made_up_evaluation(COUNTS, suite="new", made="2026-02-01T00:00:00+00:00")
    weak = made_up_evaluation(COUNTS, suite="weak", weak=True, made="2026-03-01T00:00:00+00:00")
    assert [found.evaluation.suite.name for found in ordered([weak, old, new])] == ["new", "old", "weak"]


def test_evaluations_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    found = made_up_evaluation(COUNTS)
    write_evaluation(tmp_path / "held-out", found.evaluation, found.answers, found.problems)
    assert read_evaluated(tmp_path) == (found,)


def test_same_page_gives_the_same_bytes_and_files(tmp_path: Path) -> None:
    page = page_of(
        tmp_path / "runs", made_up_evaluation(COUNTS), made_up_evaluation(COUNTS, suite="MBPP test", weak=True)
    )
    written = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        files = write_run_page(folder / "report.html", page)
        assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(files)
        written.append({file.name: file.read_bytes() for file in files})
    assert written[0] == written[1]
    plots = {name for name in written[0] if name.endswith(".svg")}
    of_suites = {f"{suite}-{plot}.svg" for suite in ("held-out", "mbpp-test") for plot in
                 ("pass", "lengths", "groups", "failures", "wins")}  # fmt: skip
    assert plots == of_suites | {f"{plot}.svg" for plot in ("loss", "parts", "tokens-per-s", "peak-gib")}
    for name in plots:
        root = ElementTree.fromstring(written[0][name])
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"prefers-color-scheme: dark" in written[0][name]


def test_plots_are_images_too_where_they_can_be_made(tmp_path: Path) -> None:
    pytest.importorskip(RENDERER)
    if not can_render():
        pytest.skip("needs a font")
    files = write_run_page(tmp_path / "report.html", page_of(tmp_path / "runs", made_up_evaluation(COUNTS)))
    images = [file for file in files if file.suffix == ".png"]
    assert [file.stem for file in images] == [file.stem for file in files if file.suffix == ".svg"]
    for image in images:
        content = image.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        root = ElementTree.fromstring(image.with_suffix(".svg").read_bytes())
        assert (width, height) == tuple(2 * (int(root.attrib[side]) + 2 * MARGIN) for side in ("width", "height"))


def test_an_image_has_its_colours_written_out(tmp_path: Path) -> None:
    for plot in run_plots(page_of(tmp_path, made_up_evaluation(COUNTS))):
        text = flat(plot.svg, LIGHT)
        assert "var(" not in text
        style = ElementTree.fromstring(text).findtext("{http://www.w3.org/2000/svg}style")
        assert style is not None
        assert f"svg .mine {{ fill: {LIGHT['best']}; stroke: {LIGHT['page']} }}" in style


def test_plots_are_vectors_alone_without_a_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.report.png.RENDERER", "a_renderer_that_is_not_installed")
    can_render.cache_clear()
    try:
        files = write_run_page(tmp_path / "report.html", page_of(tmp_path / "runs", steps=20))
    finally:
        can_render.cache_clear()
    assert {file.suffix for file in files} == {".html", ".svg"}


MEASURE = """[root.clientWidth, root.scrollWidth, faults, getComputedStyle(document.body).backgroundColor,
[...document.querySelectorAll("svg")].filter(svg => svg.clientWidth).flatMap(svg => [...svg.querySelectorAll("text")]
.filter(text => { const box = text.getBoundingClientRect(), all = svg.getBoundingClientRect();
return box.left < all.left - 1 || box.right > all.right + 1 || box.bottom > all.bottom + 1 })
.map(text => text.textContent))]"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "dark"), [(360, False), (390, True), (800, False), (1280, True)])
def test_page_fits_screens_of_any_width(width: int, dark: bool, tmp_path: Path) -> None:
    long = made_up_evaluation(
        COUNTS, suite="a-suite-of-a-very-long-name-" * 3, code="x = " + "1 + " * 200, text=EVIL * 40
    )
    page = replace(page_of(tmp_path / "runs", made_up_evaluation(COUNTS), long), again="runner train " + "long/" * 40)
    found = in_chromium(run_page_html(page), MEASURE, tmp_path, width=width, dark=dark)
    client, scroll, faults, ground, outside = found
    assert client == width
    assert scroll <= width
    assert faults == []
    assert ground == ("rgb(18, 21, 27)" if dark else "rgb(255, 255, 255)")
    assert outside == []

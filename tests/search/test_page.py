"""The page of a search: whole, self-contained, escaped, readable in both themes and on a telephone."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from made_up import DISTRIBUTIONS, RANK, RATE, answered, even, formula_study, study_of_trials, trial
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from page_reading import CHROMIUM, Reading, in_chromium
from runner.report import Command
from runner.report.drawing import Size
from runner.search.answer import Answer
from runner.search.page import SearchPage, page_html, write_page
from runner.search.plots import slices, stop_curves
from runner.search.records import Study
from runner.search.scales import scale_of

EVIL = '<script>alert("1")</script> & "co\'d'


def page_of(study: Study, answer: Answer | None = None) -> SearchPage:
    following = Command("runner train searches/demo/best.yaml", "train the best again")
    return SearchPage("demo", study, answer or answered(study), "runner search demo.yaml", (following,), ("2 cores",))


def test_page_has_the_answer_the_commands_the_plots_and_every_pair() -> None:
    page = page_of(formula_study(24))
    text = page_html(page)
    reading = Reading(text)
    assert reading.open == []
    words = " ".join(reading.words)
    for said in (page.answer.verdict, *page.answer.remarks, page.again, page.next_commands[0].text, "2 cores"):
        assert said in words
    svgs = [attributes for tag, attributes in reading.tags if tag == "svg"]
    assert len(svgs) == 2 * 7  # each in a wide and a narrow layout
    assert all(attributes["role"] == "img" for attributes in svgs)
    assert text.count("<title>") > 100
    assert text.count('<tr class="best">') == 3  # by stop step, among the seeds, among all
    rows = text.partition("All 54 measured pairs</caption>")[2].partition("</table>")[0]
    lost = [trial for trial in page.study.trials if not trial.rungs]
    assert rows.count("<tr") - 1 == len(page.answer.pairs) + len(lost)


def test_a_trial_that_stopped_early_is_told_apart_where_values_are_compared() -> None:
    early = [trial(number, [even(50, 0.4)], ending="stopped") for number in range(1, 4)]
    late = trial(0, [even(stop, 20 / stop) for stop in (50, 100, 200)])
    drawn = slices(answered(study_of_trials(late, *early)), RANK, Size(600, 400)).svg
    assert (drawn.count('class="ring"'), drawn.count('class="dot"')) == (1 + 3, 1 + 1)  # one of each in the legend


def test_page_needs_nothing_from_elsewhere() -> None:
    page = page_html(page_of(formula_study(24)))
    without_names = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|src=|href=", without_names)
    assert {tag for tag, _ in Reading(page).tags}.isdisjoint({"link", "img", "iframe", "object"})


@pytest.mark.parametrize("place", ["name", "again", "why", "value", "key", "fact"])
def test_texts_from_files_are_shown_and_not_run(place: str) -> None:
    study = formula_study(12)
    first, *others = study.trials
    changes: dict[str, dict[str, Any]] = {
        "why": {"ending": "failed", "why": EVIL, "rungs": ()},
        "value": {"values": {RANK: EVIL, RATE: 0.003}},
    }
    distributions = {**DISTRIBUTIONS, RANK: CategoricalDistribution((EVIL, 2, 4, 8, 16))}
    key = EVIL if place == "key" else RANK
    renamed = tuple(
        replace(each, values={key if name == RANK else name: value for name, value in each.values.items()})
        for each in (replace(first, **changes.get(place, {})), *others)
    )
    answer = answered(
        replace(study, trials=renamed),
        distributions={key if name == RANK else name: spread for name, spread in distributions.items()},
    )
    page = page_of(replace(study, trials=renamed), answer)
    texts: dict[str, Any] = {"name": {"name": EVIL}, "again": {"again": EVIL}, "fact": {"facts": (EVIL,)}}
    page = replace(page, **texts.get(place, {}))
    text = page_html(page)
    assert "alert(&quot;1&quot;)" in text
    assert "<script>alert" not in text
    reading = Reading(text)
    assert reading.open == []
    assert [tag for tag, _ in reading.tags].count("script") == 1


@pytest.mark.parametrize("trials", [0, 1, 2, 8])
def test_page_of_few_trials_has_what_there_is(trials: int) -> None:
    study = formula_study(trials) if trials else study_of_trials()
    reading = Reading(page_html(page_of(study)))
    assert reading.open == []
    assert sum(tag == "svg" for tag, _ in reading.tags) == (12 if trials else 0)


def test_page_of_lost_trials_tells_how_they_ended() -> None:
    study = study_of_trials(trial(0, ending="diverged"), replace(trial(1, ending="infeasible"), why="needs 30 GiB"))
    text = page_html(page_of(study))
    assert "did not fit: needs 30 GiB" in text
    assert "<svg" not in text


def test_plots_stand_beside_the_page_as_files_of_their_own(tmp_path: Path) -> None:
    files = write_page(tmp_path / "search.html", page_of(formula_study(24)))
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(files)
    drawn = [path for path in files if path.suffix == ".svg"]
    assert files[0] == tmp_path / "search.html"
    assert {path.parent for path in files[1:]} == {tmp_path / "search-plots"}
    assert [path.stem for path in drawn] == [
        "history",
        "stop-steps",
        "minutes",
        "parallel",
        "by-lora-rank",
        "by-train-learning_rate",
        "importance",
    ]
    for path in drawn:
        root = ElementTree.fromstring(path.read_bytes())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findtext("{http://www.w3.org/2000/svg}title")
        assert "prefers-color-scheme: dark" in path.read_text()


def test_same_study_gives_the_same_page() -> None:
    assert page_html(page_of(formula_study(10))) == page_html(page_of(formula_study(10)))


def test_band_shows_the_tolerance_and_whiskers_the_standard_error() -> None:
    study = formula_study(12)
    size = Size(544, 360)
    assert 'class="band"' in stop_curves(answered(study, 0.05), size).svg
    assert 'class="whisker"' not in stop_curves(answered(study, 0.05), size).svg
    assert 'class="whisker"' in stop_curves(answered(study), size).svg


def test_scales_place_values_and_name_round_ones() -> None:
    rates = scale_of(FloatDistribution(1e-3, 1e-1, log=True))
    assert rates.place(1e-2) == pytest.approx(0.5)
    assert [label for _, label in rates.ticks(3)] == ["0.001", "0.01", "0.1"]
    ranks = scale_of(CategoricalDistribution((16, 4, 8, 2)))
    assert [label for _, label in ranks.ticks(8)] == ["2", "4", "8", "16"]
    assert ranks.place(2) < ranks.place(16)
    assert [label for _, label in scale_of(IntDistribution(0, 4)).ticks(5)] == ["0", "1", "2", "3", "4"]
    assert scale_of(CategoricalDistribution(("null", "[q_proj, v_proj, o_proj]"))).ticks(4)[1][1] == "[q_proj, v_proj…"


MEASURE = """(() => { const shown = (c) => [...document.querySelectorAll("figure ." + c)].filter(e => e.offsetWidth)
.length; return [root.clientWidth, root.scrollWidth, shown("full"), shown("slim"),
getComputedStyle(document.body).backgroundColor] })()"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "dark", "slim"), [(360, False, 7), (360, True, 7), (800, False, 1), (1200, True, 0)])
def test_page_fits_screens_of_any_width(width: int, dark: bool, slim: int, tmp_path: Path) -> None:
    study = formula_study(24)
    page = replace(page_of(study), again="runner search " + "long/" * 40, name="a" * 64)
    client, scroll, full, slims, ground = in_chromium(page_html(page), MEASURE, tmp_path, width=width, dark=dark)
    assert client == width
    assert scroll <= width
    assert (full, slims) == (7 - slim, slim)
    assert ground == ("rgb(18, 21, 27)" if dark else "rgb(255, 255, 255)")


def test_even_pairs_can_be_drawn() -> None:
    study = study_of_trials(trial(0, [even(50, 0.5)], step_s=0.0), trial(1, [even(50, 0.5)], step_s=0.0))
    assert Reading(page_html(page_of(study))).open == []

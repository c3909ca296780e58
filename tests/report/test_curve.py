"""Curves: what is taken from the records, and where it is drawn in a terminal and in an image."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.report.axis import round_step, round_ticks
from runner.report.curve import Curve, Mark, read_curve, smoothed
from runner.report.style import Style
from runner.report.svg import curve_svg, write_curve
from runner.report.terminal import draw
from runner.runs import Record

SVG = "{http://www.w3.org/2000/svg}"


def records(steps: int, *, decay: int | None = None, warmup: int = 5) -> list[Record]:
    """Losses 4 to 1 along a hyperbola; the rate rises to ``warmup`` and falls after ``decay``."""
    told: list[Record] = [{"kind": "validation", "step": 0, "loss": 4.0}]
    for step in range(1, steps + 1):
        rate = 1e-3 * min(1.0, step / warmup) * (1.0 if decay is None or step <= decay else 0.5)
        told.append({"kind": "train", "step": step, "loss": 1 + 3 / step, "learning_rate": rate})
        if step % 10 == 0:
            told.append({"kind": "validation", "step": step, "loss": 1 + 3 / step})
    return told


def test_a_curve_takes_the_last_word_on_each_step_and_only_finite_losses() -> None:
    told: list[Record] = [
        {"kind": "train", "step": 2, "loss": 9.0},
        {"kind": "train", "step": 1, "loss": 3.0},
        {"kind": "train", "step": 2, "loss": 2.0},
        {"kind": "train", "step": 3, "loss": None},
        {"kind": "train", "loss": 1.0},
        {"kind": "event", "step": 4, "text": "x"},
    ]
    assert read_curve(told) == Curve(((1, 3.0), (2, 2.0)), (), ())


def test_marks_say_where_decay_began_where_the_plateau_was_and_step_500() -> None:
    assert read_curve(records(60, decay=40)).marks == (Mark(40, "decay"),)
    assert read_curve(records(60)).marks == ()
    cosine: list[Record] = [
        {"kind": "train", "step": step, "loss": 1.0, "learning_rate": math.cos(step / 100)} for step in range(100)
    ]
    assert read_curve(cosine).marks == ()
    plateau: Record = {"kind": "event", "name": "plateau", "step": 550, "end": 600, "text": "t"}
    assert read_curve([*records(600, decay=550), plateau]).marks == (Mark(500, "step 500"), Mark(550, "plateau, decay"))


def test_smoothing_keeps_a_straight_line_and_its_first_point() -> None:
    line = tuple((step, 2.0) for step in range(200))
    assert smoothed(line) == line
    slope = tuple((step, 10.0 - 0.01 * step) for step in range(400))
    means = smoothed(slope)
    assert means[0] == slope[0]
    assert [mean for _, mean in means[:380]] == pytest.approx([loss for _, loss in slope[:380]])
    assert [step for step, _ in means] == list(range(400))


@pytest.mark.parametrize("unicode", [True, False])
def test_a_plot_stands_in_its_width_with_every_sign_at_its_place(unicode: bool) -> None:
    lines = draw(read_curve(records(600, decay=420)), Style(80, unicode))
    assert max(len(line) for line in lines) <= 80
    validation, mark = ("●", "┊") if unicode else ("o", ":")
    assert lines[0][8] == validation
    assert lines[0].startswith("   4.0 ")
    assert lines[12][8 + 70] == validation
    for step in (420, 500):
        assert [line[8 + round(step / 600 * 70)] for line in lines[:11]] == [mark] * 11
    assert 8 < sum(line.count(validation) for line in lines[:13]) < 20
    assert lines[-1].split() == ["decay", "step", "500"]
    assert lines[-2].split() == ["0", "200", "400", "600"]
    if not unicode:
        assert all(ord(sign) < 128 for line in lines for sign in line)


def test_a_plot_has_a_row_for_each_tick_and_its_line_falls_where_the_loss_falls() -> None:
    told: list[Record] = [{"kind": "train", "step": step, "loss": 5.0 - step / 25} for step in range(101)]
    lines = draw(read_curve(told), Style(80, unicode=False))
    stars = [line[8:].index("*") for line in lines[:13]]
    assert stars == sorted(stars)
    assert stars[0] == 0
    assert stars[-1] > 60
    ticks = {row: float(line[:6]) for row, line in enumerate(lines[:13]) if line[:6].strip()}
    assert ticks == {0: 5.0, 3: 4.0, 6: 3.0, 9: 2.0}


def test_colours_change_nothing_but_the_colour() -> None:
    import re

    curve = read_curve(records(600, decay=540))
    coloured = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in draw(curve, Style(80, color=True))]
    assert coloured == list(draw(curve, Style(80)))
    assert any("\x1b[" in line for line in draw(curve, Style(80, color=True)))


losses = st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=60)


@settings(max_examples=60, deadline=None)
@given(train=losses, validation=losses, width=st.integers(30, 120), unicode=st.booleans())
def test_any_losses_give_a_plot_that_fits_and_an_image_that_parses(
    train: list[float], validation: list[float], width: int, unicode: bool
) -> None:
    curve = Curve(tuple(enumerate(train, 1)), tuple((7 * step, loss) for step, loss in enumerate(validation)), ())
    lines = draw(curve, Style(width, unicode))
    assert all(len(line) <= width for line in lines if line[:7].strip())
    if curve.last_step and len(train) + len(validation) > 1:
        assert lines
        ET.fromstring(curve_svg(curve, title="<&>"))


def test_an_image_holds_every_validation_point_and_nothing_from_outside(tmp_path: Path) -> None:
    assert write_curve(records(600, decay=540), tmp_path / "loss.svg", title="a & b")
    text = (tmp_path / "loss.svg").read_text()
    page = ET.fromstring(text)
    tips = [circle.findtext(f"{SVG}title") for circle in page.iter(f"{SVG}circle")]
    assert tips[:2] == ["step 0: validation loss 4.0000", "step 10: validation loss 1.3000"]
    assert len(tips) == 61
    heights = [float(circle.attrib["cy"]) for circle in page.iter(f"{SVG}circle")]
    assert heights == sorted(heights)
    assert {"decay", "step 500", "training (smoothed)", "validation"} <= {item.text for item in page.iter(f"{SVG}text")}
    assert "prefers-color-scheme: dark" in text
    assert text.count("http") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["loss.svg"]


def test_no_image_is_written_of_nothing(tmp_path: Path) -> None:
    assert not write_curve([], tmp_path / "loss.svg")
    assert not write_curve([{"kind": "validation", "step": 0, "loss": 4.0}], tmp_path / "loss.svg")
    assert list(tmp_path.iterdir()) == []


@given(low=st.floats(-1e5, 1e5), span=st.floats(1e-3, 1e6), most=st.integers(1, 12))
def test_ticks_are_round_inside_and_not_too_many(low: float, span: float, most: int) -> None:
    ticks = round_ticks(low, low + span, most)
    step = round_step(span, most)
    assert len(ticks) <= most + 1
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert f"{step:e}"[0] in "125"

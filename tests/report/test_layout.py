"""Text in its place: nothing is broken, nothing is too wide, columns stand in line."""

import pytest

from runner.report import Style
from runner.report.layout import LABEL, in_columns, wrapped

PARTS = ["one part", "another part", "a third", "the last of them"]


@pytest.mark.parametrize("width", range(36, 80, 4))
def test_parts_are_wrapped_whole_after_one_label(width: int) -> None:
    lines = wrapped("time", PARTS, Style(width))
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("time ")
    assert all(line.startswith(" " * (LABEL + 2)) for line in lines[1:])
    assert " ".join(line[LABEL + 2 :] for line in lines) == ", ".join(PARTS)


def test_a_part_wider_than_the_terminal_has_a_line_of_its_own() -> None:
    lines = wrapped("time", ["a", "b" * 60, "c"], Style(40))
    assert [line[LABEL + 2 :] for line in lines] == ["a,", "b" * 60 + ",", "c"]


def test_words_stand_left_and_numbers_right() -> None:
    assert in_columns([("form", "MB", ""), ("adapter", "1,234.5", "new"), ("full", "9", "")]) == [
        "form          MB",
        "adapter  1,234.5  new",
        "full           9",
    ]

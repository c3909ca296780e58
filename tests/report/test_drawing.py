"""The colours of plots and pages can be told from their grounds."""

import pytest

from runner.report.drawing import DARK, LIGHT


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_from_both_grounds(theme: dict[str, str]) -> None:
    """WCAG 2.1: 4.5 for text, 3 for signs."""
    for ground in ("page", "panel"):
        for name in ("text", "quiet", "best", "early", "trial", "good", "bad"):
            assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
        assert contrast(theme["axis"], theme["page"]) >= 3


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

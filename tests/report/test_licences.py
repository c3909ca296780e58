"""What is said of a licence: its restrictions and where they stand, in a line and on a card, and what is not known."""

from runner.report.licences import base_licence_text, licence_line


def test_restrictions_are_told_with_their_text_on_one_line_and_in_full() -> None:
    line, full = licence_line("bigcode-openrail-m"), base_licence_text("bigcode-openrail-m")
    (link,) = [word.strip("()") for word in line.split() if "://" in word]
    assert line.startswith("bigcode-openrail-m (use restrictions that pass on to adapters")
    assert full.startswith("BigCode OpenRAIL-M v1. Its use restrictions")
    assert full.endswith(f"The text: {link}")


def test_licences_without_restrictions_are_only_named() -> None:
    assert (licence_line("mit"), base_licence_text("mit")) == ("mit", "MIT License.")
    assert (licence_line("cc-by-4.0"), base_licence_text("cc-by-4.0")) == (
        "cc-by-4.0",
        "`cc-by-4.0`, as the base states it.",
    )


def test_a_licence_that_is_not_stated_is_to_be_asked_for() -> None:
    assert "ask its authors" in licence_line("")
    assert "ask its authors before you pass these weights on" in base_licence_text("")

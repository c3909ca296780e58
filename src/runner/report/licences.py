"""What is said of the licences of bases: their names, and what passes on to weights that are tuned from them.

Which licence a base has is found out by those who fetch and export it.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """A licence in words; ``restrictions`` and the place of its ``text`` where it binds whoever receives weights."""

    name: str
    restrictions: str = ""
    text: str = ""


LICENCES: Mapping[str, Licence] = {
    "bigcode-openrail-m": Licence(
        "BigCode OpenRAIL-M v1",
        "Its use restrictions (Attachment A) pass on to whatever is derived from the model, this one included: "
        "whoever receives these weights must receive the restrictions with them and is bound by them.",
        "https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement",
    ),
    "apache-2.0": Licence("Apache License 2.0"),
    "mit": Licence("MIT License"),
}
"""Licences by the names that the hub has for them."""


def licence_line(name: str) -> str:
    """The licence ``name`` on one line, with a warning where its restrictions pass on; empty is not stated."""
    if not name:
        return "none is stated; ask its authors"
    known = LICENCES.get(name)
    return f"{name} (use restrictions that pass on to adapters: {known.text})" if known and known.restrictions else name


def base_licence_text(name: str) -> str:
    """What a model card says of the base's licence ``name``, restrictions in full; empty is not stated."""
    if not name:
        return "No licence is stated beside the base; ask its authors before you pass these weights on."
    known = LICENCES.get(name)
    if known is None:
        return f"`{name}`, as the base states it."
    return f"{known.name}. {known.restrictions} The text: {known.text}" if known.restrictions else f"{known.name}."

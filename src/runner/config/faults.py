"""Checking plain data against a configuration type: the object, or every fault in words.

Ranges and near keys come from ``keys``; the places in messages from the ``document``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from runner.config.document import Document, KeyPath, Value
from runner.config.keys import allowed, keys_of_section, known_keys, near_values, nearest_key
from runner.errors import JobFileError

Checked = TypeVar("Checked", bound=BaseModel)
_SHOWN = 60  # characters of a value or key that a message repeats
_KEY = re.compile(r"\b[a-z_]+(?:\.[a-z_]+)*")


def check(model: type[Checked], document: Document) -> Checked:
    """``document`` as a ``model``; raises ``JobFileError`` with all of its faults, each with place and remedy.

    Faults between keys are told beside those of single keys, as far as the keys in them are sound themselves.
    """
    faults = list(document.faults)
    try:
        checked = model.model_validate(document.values, strict=True)
    except ValidationError as error:
        faults += _told(model, document, error)
    else:
        if not faults:
            return checked
    raise JobFileError(document.name, tuple(dict.fromkeys(faults)))


def _told(model: type[BaseModel], document: Document, error: ValidationError) -> list[str]:
    wrong: dict[KeyPath, set[str]] = {}
    between: list[str] = []
    for detail in error.errors():
        if detail["type"] == "value_error":
            between += str(detail["ctx"]["error"]).splitlines()
        else:
            wrong.setdefault(_written(document.values, detail["loc"]), set()).add(detail["type"])
    faults = [_fault(model, document, path, kinds) for path, kinds in wrong.items()]
    if wrong:
        between = _between_sound_keys(model, document, tuple(wrong))
    return faults + [f"{_place_of(document, text)}: {text}" for text in between]


def _written(values: Mapping[str, Value], location: Sequence[str | int]) -> KeyPath:
    """``location`` without what pydantic adds to it for the options of a union."""
    path: list[str | int] = []
    here: Value = values
    for part in location:
        inside = isinstance(here, Mapping) and part in here
        if inside or (isinstance(here, tuple) and isinstance(part, int) and part < len(here)):
            here = here[part]  # type: ignore[index]  # one of the two holds, as just asked
            path.append(part)
    if location and not path:
        path.append(location[0])  # a required key that is not there
    return tuple(path)


def _fault(model: type[BaseModel], document: Document, path: KeyPath, kinds: set[str]) -> str:
    key = _dotted(path)
    place = _place(document, path)
    if "extra_forbidden" in kinds:
        return f"{place}: {_unknown(model, key)}"
    field = ".".join(part for part in path if isinstance(part, str))
    if kinds == {"missing"}:
        return f"{place}: {key} is missing; it must be {allowed(model, field)}"
    value = _at(document.values, path)
    item = " in the list" if field != key else ""
    remedy = _remedy(model, path, value)
    return f"{place}: {key} is {shown(value)}; it must be {_element(allowed(model, field), item)}{remedy}"


def _element(text: str, item: str) -> str:
    """What one element of a list may be, taken from what the list may be."""
    return text.partition("list of ")[2].removeprefix("at least one ") if item else text


def _unknown(model: type[BaseModel], key: str) -> str:
    shown_key = key if key.strip() else repr(key)
    if key in known_keys(model):  # with a dot inside a name: only an override writes a path so
        *sections, name = key.split(".")
        return f"{key} is written as one key; write {name}{''.join(f' under {part}:' for part in reversed(sections))}"
    near = nearest_key(model, key)
    if near is not None:
        return f"{shown_key[:_SHOWN]} is no known key; did you mean {near}?"
    section = key.rpartition(".")[0]
    names = ", ".join(keys_of_section(model, section))
    return f"{shown_key[:_SHOWN]} is no known key; {f'{section} has' if section else 'there are'} {names}"


def _remedy(model: type[BaseModel], path: KeyPath, value: Value) -> str:
    node = known_keys(model).get(_dotted(path))
    if node is None:
        return ""
    for candidate in near_values(node, value):
        if type(candidate) is type(value) and candidate == value:
            continue
        if _is_sound(model, path, candidate):
            return f"; did you mean {_number(candidate)}?"
    if value is None:
        default = node.get("default")
        return f"; leave the key out for {'its defaults' if isinstance(default, dict) else shown(default)}"
    if isinstance(value, int | float) and _is_sound(model, path, str(value)):
        return f'; put it in quotes if it is text: "{value}"'
    return ""


def _is_sound(model: type[BaseModel], path: KeyPath, value: object) -> bool:
    """Whether ``value`` alone, all else at its default, would be accepted at ``path``."""
    values: Any = value
    for part in reversed(path):
        values = {part: values}
    try:
        model.model_validate(values, strict=True)
    except ValidationError as error:
        return all(detail["type"] == "value_error" for detail in error.errors())
    return True


def _between_sound_keys(model: type[BaseModel], document: Document, wrong: tuple[KeyPath, ...]) -> list[str]:
    """Faults between keys when the wrong ones are left out; those that speak of a wrong one are not told."""
    values = _without(document.values, wrong)
    try:
        model.model_validate(values, strict=True)
    except ValidationError as error:
        told = [str(detail["ctx"]["error"]) for detail in error.errors() if detail["type"] == "value_error"]
        names = {_dotted(path) for path in wrong}
        return [text for text in "\n".join(told).splitlines() if not names & set(_keys_in(text))]
    return []


def _without(values: Mapping[str, Value], paths: Sequence[KeyPath]) -> dict[str, Value]:
    """``values`` without the keys at ``paths``; a list with a wrong element goes whole."""
    kept: dict[str, Value] = {}
    for key, value in values.items():
        here = [path[1:] for path in paths if path[0] == key]
        if not here:
            kept[key] = value
        elif isinstance(value, Mapping) and all(here):
            kept[key] = _without(value, here)
    return kept


def _keys_in(text: str) -> list[str]:
    """The dotted keys that a message names, each with the sections around it."""
    return [".".join(key.split(".")[:length]) for key in _KEY.findall(text) for length in range(1, key.count(".") + 2)]


def _place_of(document: Document, text: str) -> str:
    """Where the first written one of the keys that ``text`` names is; the file when all are at their defaults."""
    dotted = _KEY.findall(text)
    for key in [*dotted, *(key.partition(".")[0] for key in dotted)]:
        place = document.places.get(tuple(key.split(".")))
        if place is not None:
            return place
    return document.name


def _place(document: Document, path: KeyPath) -> str:
    """Where ``path``, or the nearest section around it, is written."""
    for length in range(len(path), 0, -1):
        if path[:length] in document.places:
            return document.places[path[:length]]
    return document.name


def _at(values: Mapping[str, Value], path: KeyPath) -> Value:
    here: Any = values
    for part in path:
        here = here[part]
    return here  # type: ignore[no-any-return]  # plain data holds plain data


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def shown(value: object) -> str:
    """A value as it would be written in a file, on one line and not too long."""
    if isinstance(value, Mapping):
        return "a section" if value else "an empty section"
    if isinstance(value, float):
        return _number(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _number(value: object) -> str:
    """A number as people write it: 3e-4, not 0.0003; text stays."""
    if isinstance(value, tuple):
        return f"[{', '.join(str(part) for part in value)}]"
    if not isinstance(value, float):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    if value and abs(value) < 1e-2:
        mantissa, _, exponent = f"{value:.6e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return repr(value)

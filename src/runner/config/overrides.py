"""``-o section.key=value``: single keys of a file set from the command line.

Whether the key exists and the value is allowed is checked afterwards, with the file's own, in ``faults``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from runner.config.document import Document, KeyPath, Value, read_value
from runner.errors import JobFileError


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """``document`` with each override set, the last of a key winning; values are typed as in the file.

    A section that is null or missing is made.  An override without a key or with a value that is not YAML becomes a
    fault of the document.
    """
    for override in overrides:
        document = _with(document, override)
    return document


def set_value(document: Document, key: str, value: Value, place: str) -> Document:
    """``document`` with ``key`` (dotted) set to ``value``; ``place`` names in messages where it came from."""
    path: KeyPath = tuple(key.split("."))
    kept = {written: where for written, where in document.places.items() if written[: len(path)] != path}
    return replace(
        document,
        values=_set(document.values, tuple(key.split(".")), value),
        places={**kept, path: place, **{(*path, *inner): place for inner in _paths(value)}},
    )


def _with(document: Document, override: str) -> Document:
    key, equals, text = override.partition("=")
    key = key.strip()
    place = f"-o {key}" if key.isprintable() else "-o " + repr(key)
    if not equals or not all(part.strip() for part in key.split(".")):
        fault = f"-o {override!r}: is not section.key=value; write it as -o train.steps=100"
        return replace(document, faults=(*document.faults, fault))
    try:
        return set_value(document, key, read_value(text, place), place)
    except JobFileError as error:
        return replace(document, faults=(*document.faults, *error.faults))


def _set(values: Mapping[str, Value], path: tuple[str, ...], value: Value) -> dict[str, Value]:
    first, *rest = path
    if not rest:
        return {**values, first: value}
    inner = values.get(first)
    return {**values, first: _set(inner if isinstance(inner, Mapping) else {}, tuple(rest), value)}


def _paths(value: Value) -> list[KeyPath]:
    if isinstance(value, Mapping):
        parts: list[tuple[str | int, Value]] = list(value.items())
    else:
        parts = list(enumerate(value)) if isinstance(value, tuple) else []
    return [path for part, inner in parts for path in ((part,), *((part, *below) for below in _paths(inner)))]

"""Strict YAML: a file or one value becomes plain data, with the place of every key.

What the keys mean, and whether their values are allowed, is for ``faults`` and ``load``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from runner.errors import JobFileError, UserError

MAX_BYTES = 262_144
MAX_DEPTH = 20
MAX_DIGITS = 40  # of a whole number; Python itself refuses to read one of over 4,300

Value: TypeAlias = "str | int | float | bool | Mapping[str, Value] | tuple[Value, ...] | None"
KeyPath: TypeAlias = tuple[str | int, ...]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Document:
    """The plain data of a file: mappings have text keys, sequences are tuples.

    ``places`` tells where each key path was written, as ``file:line`` or as the ``-o`` that set it;
    ``faults`` are those of the form alone, such as a duplicate key.
    """

    name: str
    values: Mapping[str, Value]
    places: Mapping[KeyPath, str]
    faults: tuple[str, ...] = ()


def read_document(file: Path) -> Document:
    """The data of a YAML file, read as YAML 1.2 does: ``1e-4`` is a number, ``no`` and ``12:30:00`` are text.

    Aliases, anchors, tags and several documents in one file are refused.  Raises ``UserError`` when the file cannot
    be read and ``JobFileError`` when it is not a YAML mapping.
    """
    name = _quoted(str(file))
    text = _text(file, name)
    node = _compose(text, name)
    if node is None:
        raise JobFileError(name, (f"{name}: holds no keys; write at least one, such as name: my-job",))
    if not isinstance(node, yaml.MappingNode):
        where = place(name, node.start_mark.line)
        raise JobFileError(name, (f"{where}: holds no mapping; a file is made of lines such as key: value",))
    builder = _Builder(name)
    values = builder.mapping(node, ())
    return Document(name, values, builder.places, tuple(builder.faults))


def read_value(text: str, name: str) -> Value:
    """One value typed as in a file; ``name`` says in messages where it was written.  Raises ``JobFileError``."""
    node = _compose(text, name)
    if node is None:
        return None
    builder = _Builder(name)
    value = builder.value(node, ())
    if builder.faults:
        raise JobFileError(name, tuple(builder.faults))
    return value


def _text(file: Path, name: str) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{name} does not exist", f"looked in {Path.cwd()}", _neighbours(file)) from None
    except IsADirectoryError:
        raise UserError(f"{name} is a folder", remedy=_neighbours(file / "any")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name} cannot be read: {reason}", remedy="name a readable YAML file") from error
    if len(data) > MAX_BYTES:
        raise JobFileError(name, (f"{name}: is larger than {MAX_BYTES:,} bytes; a job file takes a few hundred",))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fault = f"{name}:{line}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        raise JobFileError(name, (fault,)) from None


def _quoted(name: str) -> str:
    """The name as it is, unless a character in it would break the line of a message."""
    return name if name.isprintable() and name.strip() else repr(name)


def _neighbours(file: Path) -> str:
    """A remedy naming the YAML files beside a missing one, else those of ``jobs/``."""
    for folder in (file.parent, Path("jobs")):
        try:
            found = sorted(path.name for path in folder.glob("*.yaml"))
        except (OSError, ValueError):
            continue
        if found:
            return f"{folder}/ has {', '.join(found[:8])}{', ...' if len(found) > 8 else ''}"
    return "name a YAML file"


class _RefusedError(Exception):
    """A YAML feature that is not read, at a line counted from 0."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes nodes; types plain scalars as the core schema of YAML 1.2 does."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (the class attribute of PyYAML's resolver)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # missing in the stubs
        line = event.start_mark.line if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _RefusedError("anchors (&) and aliases (*) are not read; write the value out", line)
        if (tag := getattr(event, "tag", None)) is not None:
            tag = tag.replace("tag:yaml.org,2002:", "!!")[:60]
            raise _RefusedError(f"the tag {tag} is not read; write the plain value", line)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _RefusedError(f"nested deeper than {MAX_DEPTH} levels", line)
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]  # the stub says int
        self.depth -= 1
        return node


for _tag, _pattern, _first in (
    ("null", _NULL, "~nN"),
    ("bool", _BOOL, "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
):
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, [*_first, *([""] if _tag == "null" else [])])


def _compose(text: str, name: str) -> yaml.Node | None:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
    except _RefusedError as refused:
        fault = f"{place(name, refused.line)}: {refused}"
    except yaml.MarkedYAMLError as error:
        fault = f"{_position(error, name)}: not YAML: {_reason(error)}"
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ReaderError (a control character) has no mark; "\UFFFFFFFF" ends in a ValueError of chr()
        line = loader.line if loader is not None else _line_of(text, getattr(error, "position", 0))
        fault = f"{place(name, line)}: not YAML: {_first_line(str(error))}; remove or correct the character"
    else:
        return node
    raise JobFileError(name, (fault,))


def place(name: str, line: int) -> str:
    """``file:line`` of a line counted from 0; an override (``-o key``) has no lines."""
    return name if name.startswith("-o ") else f"{name}:{line + 1}"


def _position(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    return f"{place(name, mark.line)}:{mark.column + 1}" if mark is not None else name


def _reason(error: yaml.MarkedYAMLError) -> str:
    remedy = "check indentation, quotes and brackets near there; indent with spaces"
    if error.context == "expected a single document in the stream":
        return "a second document begins (---); keep one document a file"
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"{_first_line(said)}; {remedy}"


def _first_line(text: str) -> str:
    line = next(iter(text.splitlines()), "")[:160]
    return _CONTROL.sub("?", line)


def _line_of(text: str, position: object) -> int:
    return text.count("\n", 0, position if isinstance(position, int) else 0)


@dataclass
class _Builder:
    """Turns nodes into plain data while it notes places and faults of form."""

    name: str
    places: dict[KeyPath, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def value(self, node: yaml.Node, path: KeyPath) -> Value:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self._item(child, (*path, number)) for number, child in enumerate(node.value))
        return self._scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Value]:
        found: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            where = place(self.name, line)
            if not isinstance(key_node, yaml.ScalarNode) or _CONTROL.search(key_node.value):
                self.faults.append(f"{where}: a key is not plain text; write key: value")
                continue
            key = key_node.value
            dotted = ".".join(str(part) for part in (*path, key))
            if key in lines:
                self.faults.append(
                    f"{where}: {dotted} stands on lines {lines[key] + 1} and {line + 1}; keep one of them"
                )
                continue
            lines[key] = line
            self.places[(*path, key)] = where
            found[key] = self.value(value_node, (*path, key))
        return found

    def _item(self, node: yaml.Node, path: KeyPath) -> Value:
        self.places[path] = place(self.name, node.start_mark.line)
        return self.value(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Value:
        text: str = node.value
        if _CONTROL.search(text):
            dotted = ".".join(str(part) for part in path)
            where = place(self.name, node.start_mark.line)
            self.faults.append(f"{where}: {dotted or 'the value'} holds a control character; remove it")
            return "?"
        return _typed(text, node.tag.rpartition(":")[2])


def _typed(text: str, kind: str) -> Value:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int" and len(text) <= MAX_DIGITS:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if kind == "float":
        return float(text.replace(".", "", 1) if text.lstrip("+-").lower() in (".inf", ".nan") else text)
    return text

"""The rows of a JSONL file and their columns, with errors that name the line.

Which columns a format has is in the format's module.
"""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import UserError

NO_TESTS, TESTS_NOT_PYTHON, REFERENCE_NOT_PYTHON = "no tests", "tests are not Python", "reference is not Python"

_WANTED = "give a JSONL file: text, one JSON object a line"


@dataclass(frozen=True)
class Row:
    """One object of a file, with the number of its line, counted from 1."""

    file: Path
    line: int
    columns: dict[str, Any]

    def fault(self, what: str) -> UserError:
        """The error that says what is wrong with this row."""
        return UserError(what, f"{self.file}, line {self.line}", "correct the row or take it out")

    def has(self, *names: str) -> bool:
        """Whether one of the columns is there and not null."""
        return any(self.columns.get(name) is not None for name in names)

    def value(self, *names: str) -> Any:
        """Of the first column that is there and not null.  Raises ``UserError`` when there is none."""
        for name in names:
            if self.columns.get(name) is not None:
                return self.columns[name]
        raise self.fault(f"column {' or '.join(names)} is missing")

    def text(self, *names: str) -> str:
        """The same, with line ends as on Unix.  Raises ``UserError`` when it is not text."""
        found = self.value(*names)
        if not isinstance(found, str):
            raise self.fault(f"column {' or '.join(names)} holds {_shown(found)}, not text")
        return found.replace("\r\n", "\n")

    def texts(self, *names: str) -> list[str]:
        """A list of texts; empty when no column is there.  Raises ``UserError`` when it holds anything else."""
        found = self.value(*names) if self.has(*names) else []
        if not isinstance(found, list) or not all(isinstance(part, str) for part in found):
            raise self.fault(f"column {' or '.join(names)} holds {_shown(found)}, not a list of texts")
        return [part.replace("\r\n", "\n") for part in found]

    def id(self, *names: str) -> str:
        """The row's name for itself as text, its line where it has none."""
        for name in names:
            if isinstance(self.columns.get(name), str | int):
                return str(self.columns[name])
        return f"line {self.line}"

    def structure(self, *names: str) -> Any:
        """Lists and dicts of a column that may hold them as JSON in text; None for an empty text or no column."""
        found = self.value(*names) if self.has(*names) else None
        if not isinstance(found, str):
            return found
        try:
            return json.loads(found) if found.strip() else None
        except (ValueError, RecursionError) as error:
            raise self.fault(f"column {' or '.join(names)} holds text that is not JSON ({error})") from error


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a JSONL file, read as they are asked for; blank lines do not count.

    Raises ``UserError`` when the file cannot be read or a line is no JSON object.
    """
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _row(file, number, line)
    except UnicodeDecodeError as error:
        raise UserError("the file is not text (compressed, or Parquet?)", str(file), _WANTED) from error
    except OSError as error:
        raise UserError(f"the file cannot be read ({error.strerror})", str(file), "check the path") from error


def _row(file: Path, number: int, line: str) -> Row:
    if line.lstrip().startswith("<"):
        raise UserError(
            "the file holds HTML: a web page was saved in place of the data",
            f"{file}, line {number}",
            "download the raw file",
        )
    try:
        columns = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)  # its own line number misleads
        raise UserError(f"the line is not JSON ({why})", f"{file}, line {number}", _WANTED) from error
    if not isinstance(columns, dict):
        raise UserError(f"the line holds {_shown(columns)}, not an object", f"{file}, line {number}", _WANTED)
    return Row(file, number, columns)


def is_python(code: str) -> bool:
    """Whether ``code`` parses."""
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

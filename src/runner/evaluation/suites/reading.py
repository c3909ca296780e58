"""A suite from a JSONL file, whose format is known by its columns.

How a row of each format becomes a problem is in the format's module.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from runner.errors import UserError
from runner.evaluation.problems import Problem, Suite, SuiteFormat
from runner.evaluation.suites import humaneval, mbpp, output_prediction, stdin_stdout
from runner.evaluation.suites.assembly import assembled
from runner.evaluation.suites.rows import Row, read_rows

_FIRST_ROWS = 5


@dataclass(frozen=True)
class Format:
    """A format: of each of ``needs`` one column is there; ``read`` gives a problem or why the row holds none."""

    name: SuiteFormat
    kind: str
    needs: tuple[tuple[str, ...], ...]
    read: Callable[[Row], Problem | str]

    def fits(self, keys: set[str]) -> bool:
        return all(keys & set(alternatives) for alternatives in self.needs)


FORMATS = (
    Format("humaneval", "HumanEval", humaneval.NEEDS, humaneval.read),
    Format("mbpp", "MBPP", mbpp.NEEDS, mbpp.read),
    Format("stdin-stdout", "APPS", stdin_stdout.APPS_NEEDS, stdin_stdout.read_apps),
    Format("stdin-stdout", "CodeContests", stdin_stdout.CONTESTS_NEEDS, stdin_stdout.read_contests),
    Format("output-prediction", "CRUXEval", output_prediction.NEEDS, output_prediction.read),
)


def read_suite(file: Path, *, split: str | None = None, limit: int | None = None) -> Suite:
    """The problems of a JSONL file, at most the first ``limit``, of MBPP those of ``split`` alone.

    Rows that hold no usable problem are counted in ``skipped``.  Raises ``UserError`` for a file that cannot be
    read, has no known format or no usable problem, for a faulty row with its line, and for an unknown split.
    """
    rows = read_rows(file)
    first = list(islice(rows, _FIRST_ROWS))
    if not first:
        raise UserError("the file is empty", str(file), "give a JSONL file, one problem a line")
    form = _format_of(file, first)
    chosen = _of_split(file, form, chain(first, rows), split)
    with warnings.catch_warnings():
        # a stray backslash in a suite's code: a warning of Python's parser to the suite's authors
        for category in (DeprecationWarning, SyntaxWarning):
            warnings.simplefilter("ignore", category)
        problems, skipped = _read(form, chosen, limit)
    if not problems:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "no row was asked for"
        raise UserError(f"no usable problem ({reasons})", str(file), f"see what a {form.kind} row needs")
    name = f"{file.stem}-{split}" if split else file.stem
    return assembled(name, form.name, problems, source=str(file), skipped=skipped)


def _format_of(file: Path, rows: Sequence[Row]) -> Format:
    keys = {key for row in rows for key in row.columns}
    for form in FORMATS:
        if form.fits(keys):
            return form
    known = "; ".join(f"{form.kind} ({_needs(form)})" for form in FORMATS)
    raise UserError(f"no format fits the keys {', '.join(sorted(keys))}", str(file), f"known formats are {known}")


def _needs(form: Format) -> str:
    return ", ".join(" or ".join(alternatives) for alternatives in form.needs)


def _of_split(file: Path, form: Format, rows: Iterator[Row], split: str | None) -> Iterator[Row]:
    if split is None:
        return rows
    if form.name != "mbpp":
        raise UserError(f"split {split} was asked for", f"{file} is {form.kind}", "only MBPP has splits by id")
    if split not in mbpp.SPLITS:
        raise UserError(f"no split {split!r}", str(file), f"MBPP has {', '.join(mbpp.SPLITS)}")
    return (row for row in rows if mbpp.mbpp_split(mbpp.task_number(row)) == split)


def _read(form: Format, rows: Iterator[Row], limit: int | None) -> tuple[list[Problem], Counter[str]]:
    problems: list[Problem] = []
    skipped: Counter[str] = Counter()
    lines: dict[str, int] = {}
    while limit is None or len(problems) < limit:
        row = next(rows, None)
        if row is None:
            break
        found = form.read(row)
        if isinstance(found, str):
            skipped[found] += 1
            continue
        if found.id in lines:
            raise row.fault(f"id {found.id} is that of line {lines[found.id]} too")
        lines[found.id] = row.line
        problems.append(found)
    return problems, skipped

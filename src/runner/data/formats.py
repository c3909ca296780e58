"""How a row of each format is read: question, answer, name, origin.

Tokens, choice of rows and the prompt's words are left to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from runner.config.job import Data
from runner.data.rows import ReadRows
from runner.data.template import Answer, prompt_text, split_answer, with_tests
from runner.errors import UserError

EMPTY_QUESTION, DASH_QUESTION, EMPTY_ANSWER = "empty question", "question is '-'", "empty answer"
UNCLOSED = "thinking never closed"


@dataclass(frozen=True)
class RowFormat:
    """Columns of one format, as one set of rows has them; None: the rows say nothing of it.

    ``chat`` reads question and answer from the list of turns in ``answer``.
    """

    question: str | None
    answer: str
    id: str | None
    source: str | None
    difficulty: str | None
    licence: str | None
    judgement: str | None
    pass_rate: str | None
    chat: bool = False
    tests: str | None = None  # shown below the question

    @property
    def light_columns(self) -> tuple[str, ...]:
        """What choosing questions needs; of the answer only the length is read."""
        named = (self.id, self.question, self.answer, self.source, self.difficulty, self.pass_rate)
        return tuple(dict.fromkeys(name for name in named if name))

    @property
    def all_columns(self) -> tuple[str, ...]:
        named = (*self.light_columns, self.licence, self.judgement, self.tests)
        return tuple(dict.fromkeys(name for name in named if name))


@dataclass(frozen=True)
class LightRows:
    """What is known of some rows before they are tokenised; ``faults`` holds a reason or None."""

    ids: list[str | None]
    statements: list[str]
    answer_bytes: NDArray[np.int64]
    strata: list[tuple[str, str]]
    faults: list[str | None]


@dataclass(frozen=True)
class Sample:
    """One row, read: ``prompt`` is empty for text without a question."""

    question_id: str | None
    prompt: str
    answer: Answer
    source: str
    difficulty: str
    licence: str
    judgement: str


def format_of(data: Data, rows: ReadRows) -> RowFormat:
    """The columns of ``data.format`` in ``rows``; UserError if one that is needed is not there."""
    present = set(rows.schema.names)

    def optional(name: str | None) -> str | None:
        return name if name in present else None

    needed, found = _named_columns(data, optional)
    missing = [name for name in needed if name not in present]
    if missing:
        columns = ", ".join(sorted(rows.schema.names)) or "none"
        raise UserError(
            f"column {', '.join(missing)} is missing, which data.format {data.format} needs",
            f"{rows.name} has the columns {columns}",
            "set data.format, or data.format: columns with data.columns naming the columns to read",
        )
    for name in (found.question, found.answer):
        if name:
            _refuse_if_not_readable(rows, name, chat=found.chat)
    if found.tests:
        _refuse_if_no_texts(rows, found.tests)
    return found


def _refuse_if_no_texts(rows: ReadRows, name: str) -> None:
    kind = rows.schema.field(name).type
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        raise UserError(
            f"column {name} holds {kind}, not texts", rows.name, "name another column in data.columns.tests"
        )


def _refuse_if_not_readable(rows: ReadRows, name: str, *, chat: bool) -> None:
    kind = rows.schema.field(name).type
    if chat:
        turns = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else None
        readable = turns is not None and pa.types.is_struct(turns) and {"role", "content"} <= {f.name for f in turns}
        wanted = "a list of {role, content}"
    else:
        readable = not (pa.types.is_nested(kind) or pa.types.is_binary(kind))
        wanted = "text"
    if not readable:
        raise UserError(f"column {name} holds {kind}, not {wanted}", rows.name, "name another column in data.columns")


def _named_columns(data: Data, optional: Any) -> tuple[list[str], RowFormat]:
    if data.format in ("columns", "chat"):
        chosen = data.columns
        chat = data.format == "chat"
        question = None if chat else chosen.prompt
        answer = chosen.messages if chat else chosen.response
        tests = chosen.tests if question else None
        named = [name for name in (question, answer, chosen.id, chosen.source, chosen.difficulty, tests) if name]
        found = RowFormat(
            question, answer, chosen.id, chosen.source, chosen.difficulty, optional("license"), None, None, chat, tests
        )
        return named, found
    second = data.format == "open-code-reasoning-2"
    question, answer, name = ("question", "r1_generation", "question_id") if second else ("input", "output", "id")
    found = RowFormat(
        question,
        answer,
        name,
        optional("source"),
        optional("difficulty"),
        optional("license"),
        optional("judgement") if second else None,
        optional("pass_rate") if second else None,
    )
    return [question, answer, name], found


def read_light(batch: Any, form: RowFormat) -> LightRows:
    """Names, statements and lengths of one Arrow batch of ``form.light_columns``."""
    count = batch.num_rows
    if form.chat:
        parts = [_turns(messages) for messages in batch.column(form.answer).to_pylist()]
        statements = [question for question, _ in parts]
        sizes = np.array([len(answer.encode("utf-8", "replace")) for _, answer in parts], dtype=np.int64)
    else:
        answers = _as_text(batch.column(form.answer))
        statements = _as_text(batch.column(form.question or form.answer)).fill_null("").to_pylist()
        sizes = pc.fill_null(pc.binary_length(answers), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    ids = _column(batch, form.id, count)
    return LightRows(
        ids=[value or None for value in ids],
        statements=statements,
        answer_bytes=sizes,
        strata=list(zip(_column(batch, form.source, count), _difficulties(batch, form, count), strict=True)),
        faults=[_fault(form, statement, int(size)) for statement, size in zip(statements, sizes, strict=True)],
    )


def read_sample(row: dict[str, Any], form: RowFormat) -> Sample | str:
    """The row as prompt and answer, or the reason why it holds none."""
    if form.chat:
        question, text = _turns(row[form.answer])
    else:
        question, text = _text(row.get(form.question)) if form.question else "", _text(row[form.answer])
        question = with_tests(question.strip(), _lines(row.get(form.tests))) if form.tests else question
    plain = form.question is None and not form.chat
    answer = Answer(think="", rest=text) if plain else split_answer(text)
    if answer is None:
        return UNCLOSED
    if not text.strip() or not answer.rest.strip():
        return EMPTY_ANSWER
    return Sample(
        question_id=_text(row[form.id]) if form.id else None,
        prompt="" if plain else prompt_text(question),
        answer=answer,
        source=_text(row[form.source]) if form.source else "",
        difficulty=_difficulty(row.get(form.difficulty or ""), row.get(form.pass_rate or "")),
        licence=_text(row[form.licence]) if form.licence else "",
        judgement=_text(row[form.judgement]) if form.judgement else "",
    )


def _fault(form: RowFormat, statement: str, answer_bytes: int) -> str | None:
    if not answer_bytes:
        return EMPTY_ANSWER
    bare = statement.strip()
    if not bare:
        return EMPTY_QUESTION if form.question or form.chat else EMPTY_ANSWER
    return DASH_QUESTION if bare == "-" else None


def _turns(messages: Sequence[dict[str, Any]] | None) -> tuple[str, str]:
    """Question and answer of a chat: the last assistant turn answers, all earlier turns ask."""
    turns = [(_text(turn.get("role")), _text(turn.get("content"))) for turn in messages or [] if turn]
    last = max((place for place, (role, _) in enumerate(turns) if role == "assistant"), default=None)
    if last is None:
        return _rendered(turns), ""
    return _rendered(turns[:last]), turns[last][1]


def _rendered(turns: list[tuple[str, str]]) -> str:
    if sum(role != "system" for role, _ in turns) <= 1:
        return "\n\n".join(content for _, content in turns)
    return "\n\n".join(content if role == "system" else f"{role.capitalize()}: {content}" for role, content in turns)


def _lines(value: Any) -> str:
    """One text, or several one a line."""
    parts = value if isinstance(value, list) else [value]
    return "\n".join(text for part in parts if (text := _text(part).strip()))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _as_text(column: Any) -> Any:
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column if textual else column.cast(pa.string())


def _column(batch: Any, name: str | None, count: int) -> list[str]:
    return [_text(value) for value in batch.column(name).to_pylist()] if name else [""] * count


def _difficulties(batch: Any, form: RowFormat, count: int) -> list[str]:
    return [
        _difficulty(level, rate)
        for level, rate in zip(
            _column(batch, form.difficulty, count), _column(batch, form.pass_rate, count), strict=True
        )
    ]


def _difficulty(level: Any, pass_rate: Any) -> str:
    """The level named, else the quarter of the pass rate (0 to 1) that the row falls in."""
    if _text(level):
        return _text(level)
    try:
        rate = float(pass_rate)
    except (TypeError, ValueError):
        return ""
    if not 0.0 <= rate <= 1.0:
        return ""
    quarter = min(int(rate * 4), 3)
    return f"pass rate {quarter * 25}-{quarter * 25 + 25} %"

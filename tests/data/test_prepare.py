"""A data section becomes packed buffers: split by question, chosen by seed, tokenised once."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data_fakes import ByteEncoder, reasoning_row, write_jsonl, write_repository

from runner.config.job import Columns, Data
from runner.data import PreparedData, preview, render
from runner.data.documents import OVER_LENGTH, OVER_LENGTH_BY_SIZE
from runner.data.ledger import Ledger
from runner.data.prepare import prepare
from runner.data.rows import Rows
from runner.data.shards import PackedSplit
from runner.errors import UserError

LONG_STATEMENT = (
    "You are given a tree with n vertices, numbered from 1, and the number {0}. Each edge has a weight of at most "
    "1000. For every query find the largest weight on the path between two vertices and print it on its own line. "
    "The first line holds n and q; each of the next lines describes an edge, and each of the last q lines a query."
)


def data_of(path: Path, **changes: Any) -> Data:
    values: dict[str, Any] = {"id": str(path), "max_length": 1024, "validation_questions": 10, "seed": 17}
    return Data(**{**values, **changes})


def texts(split: PackedSplit, encoder: ByteEncoder) -> list[tuple[str, str, str]]:
    """Prompt, thinking and rest of every document, decoded."""
    found = []
    for number in range(split.documents):
        document = split.document(number)
        think_at, rest_at = document.prompt_length, document.prompt_length + document.think_length
        ids = document.ids.tolist()
        parts = (ids[:think_at], ids[think_at:rest_at], ids[rest_at:])
        prompt, think, rest = (encoder.decode(part) for part in parts)
        found.append((prompt, think, rest))
    return found


def all_rows_accounted(ledger: Ledger) -> bool:
    return ledger.rows_read == ledger.train.rows + ledger.validation.rows + sum(ledger.dropped.values())


def test_prompt_thinking_and_answer_are_parted_and_every_document_ends_in_a_learned_eos(tmp_path: Path) -> None:
    encoder = ByteEncoder()
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(40)])
    prepared = prepare(data_of(path), encoder, cache=tmp_path / "cache")
    for split in (prepared.train, prepared.validation):
        for prompt, think, rest in texts(split, encoder):
            assert prompt.endswith("print the sum.\n\n### Response\n<think>\n")
            assert think == "We add. \n</think>\n\n"
            assert rest.startswith("```python\nprint(")
            assert rest.endswith("```<eos>")
        for index in range(len(split)):
            pack = split.pack(index)
            ends = np.cumsum(pack.lengths)[: len(split.document_ids(index))] - 1
            assert (pack.ids[ends] == encoder.eos_id).all()
            assert (pack.parts[ends] == 2).all()
            assert (pack.ids == encoder.eos_id).sum() == len(ends)


def test_every_document_is_in_exactly_one_pack(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number, thought=number) for number in range(60)])
    prepared = prepare(data_of(path), ByteEncoder(), cache=tmp_path / "cache")
    for split, questions in ((prepared.train, 50), (prepared.validation, 10)):
        seen = [name for index in range(len(split)) for name in split.document_ids(index)]
        assert sorted(seen) == sorted(split.question_ids)
        assert len(set(seen)) == len(seen) == questions
    assert prepared.validation_ids == prepared.validation.question_ids
    assert all_rows_accounted(prepared.ledger)


def test_of_26_answers_a_question_one_is_kept_and_none_leaks(tmp_path: Path) -> None:
    rows = [reasoning_row(number // 26, solution=str(number)) for number in range(50 * 26)]
    path = write_repository(tmp_path / "repository", rows)
    prepared = prepare(
        data_of(path, config="split_0", split="split_0", questions=20), ByteEncoder(), cache=tmp_path / "cache"
    )
    train, held_out = set(prepared.train.question_ids), set(prepared.validation.question_ids)
    assert (len(train), len(held_out), len(train & held_out)) == (20, 10, 0)
    assert prepared.train.documents == 20
    assert prepared.ledger.rows_read == 1300
    assert prepared.ledger.dropped == {
        "question not chosen": 20 * 26,
        "another row of its question kept": 30 * 25,
    }
    assert prepared.ledger.shared_questions == 0


def test_as_many_rows_a_question_are_kept_as_asked(tmp_path: Path) -> None:
    rows = [reasoning_row(number // 26, thought=number % 26) for number in range(30 * 26)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    prepared = prepare(data_of(path, rows_per_question=4), ByteEncoder(), cache=tmp_path / "cache")
    assert set(Counter(prepared.train.question_ids).values()) == {4}
    assert set(Counter(prepared.validation.question_ids).values()) == {1}
    assert (prepared.ledger.train.questions, prepared.ledger.train.rows) == (20, 80)


def test_variants_of_a_statement_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    rows = []
    for number in range(60):
        statement = " ".join(f"w{number}x{place % 40}" for place in range(120)) + LONG_STATEMENT.format(number)
        variants = [
            statement,
            statement.upper(),
            statement.replace(" ", "\n  "),
            f"Problem {number}B. {statement}",
            statement.replace("largest weight", "greatest weight"),
        ]
        rows += [
            reasoning_row(5 * number + place, input=variant, solution=str(number))
            for place, variant in enumerate(variants)
        ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    prepared = prepare(data_of(path, max_length=4096, rows_per_question=5), ByteEncoder(), cache=tmp_path / "cache")
    asked = [{int(name[1:]) // 5 for name in split.question_ids} for split in (prepared.train, prepared.validation)]
    assert asked[0] & asked[1] == set()
    assert (len(asked[0]), len(asked[1])) == (50, 10)
    assert prepared.ledger.questions_found == 60
    assert prepared.ledger.merged_statements == 4 * 60
    assert prepared.ledger.largest_group == 5


def test_short_statements_that_differ_in_punctuation_alone_are_merged_and_counted(tmp_path: Path) -> None:
    marks = (".", "!", "?", ".")
    rows = [reasoning_row(n // 4, id=f"q{n}", input=f"Add {n // 4} and print{marks[n % 4]}") for n in range(160)]
    prepared = prepare(data_of(write_jsonl(tmp_path / "rows.jsonl", rows)), ByteEncoder(), cache=tmp_path / "cache")
    ledger = prepared.ledger
    assert (ledger.statements, ledger.questions_found, ledger.merged_statements) == (120, 40, 80)
    assert ledger.largest_group == 3
    assert ledger.dropped == {"another row of its question kept": 120}


def test_one_text_under_two_ids_and_one_id_with_two_texts_are_one_question(tmp_path: Path) -> None:
    rows = [reasoning_row(number) for number in range(40)]
    rows += [reasoning_row(number, id=f"copy{number}") for number in range(40)]
    rows += [reasoning_row(1000 + number, id=f"q{number:04d}") for number in range(40)]
    prepared = prepare(data_of(write_jsonl(tmp_path / "rows.jsonl", rows)), ByteEncoder(), cache=tmp_path / "cache")
    assert prepared.ledger.questions_found == 40
    assert prepared.train.documents + prepared.validation.documents == 40


def test_a_row_that_fits_is_preferred_and_lost_questions_are_told_by_difficulty(tmp_path: Path) -> None:
    rows = []
    for question in range(40):
        easy = question % 2 == 0
        fitting = (False, True, False) if easy or question == 1 else (False, False, False)
        rows += [
            reasoning_row(question, thought=2 if fits else 200, difficulty="EASY" if easy else "HARD")
            for fits in fitting
        ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    prepared = prepare(data_of(path, validation_questions=5), ByteEncoder(), cache=tmp_path / "cache")
    lost = {entry.difficulty: (entry.lost, entry.tried) for entry in prepared.ledger.lost}
    assert lost == {"EASY": (0, 20), "HARD": (19, 20)}
    assert prepared.train.documents + prepared.validation.documents == 21
    over = prepared.ledger.dropped.get(OVER_LENGTH, 0) + prepared.ledger.dropped.get(OVER_LENGTH_BY_SIZE, 0)
    assert over >= 19 * 3
    assert all_rows_accounted(prepared.ledger)
    assert "HARD" in render(prepared.ledger)


def test_a_lost_question_is_replaced_by_another_of_its_stratum(tmp_path: Path) -> None:
    rows = [
        reasoning_row(number, thought=200 if number % 2 else 1, difficulty="HARD" if number % 4 < 2 else "EASY")
        for number in range(200)
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    prepared = prepare(data_of(path, questions=60, validation_questions=4), ByteEncoder(), cache=tmp_path / "cache")
    assert prepared.train.documents == 60
    assert prepared.ledger.origins["difficulty"] == {"HARD": 32, "EASY": 32}


def test_the_choice_follows_the_strata_and_the_seed(tmp_path: Path) -> None:
    rows = [
        reasoning_row(number, source="a" if number < 300 else "b", difficulty="E" if number % 3 else "H")
        for number in range(400)
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)

    def chosen(**changes: Any) -> PreparedData:
        return prepare(data_of(path, questions=100, **changes), ByteEncoder(), cache=tmp_path / "cache")

    first = chosen()
    share = Counter("a" if int(name[1:]) < 300 else "b" for name in first.train.question_ids)
    assert abs(share["a"] - 75) <= 1  # four strata, each rounded by at most one
    assert first.train.question_ids != chosen(seed=18).train.question_ids
    assert first.validation.question_ids == chosen(rows_per_question=2).validation.question_ids


def test_fewer_training_questions_leave_the_held_out_ones_alone(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(80)])
    few = prepare(data_of(path, questions=10), ByteEncoder(), cache=tmp_path / "cache")
    many = prepare(data_of(path, questions=60), ByteEncoder(), cache=tmp_path / "cache")
    assert few.validation.question_ids == many.validation.question_ids
    assert set(few.train.question_ids) < set(many.train.question_ids)


def test_a_split_of_its_own_gives_the_held_out_questions_and_shuts_them_out_of_training(tmp_path: Path) -> None:
    rows = [reasoning_row(number) for number in range(60)]
    rows += [reasoning_row(900 + number, input=reasoning_row(number)["input"].upper()) for number in range(15)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    prepared = prepare(
        data_of(path, split="train[:60]", validation_split="train[60:]"), ByteEncoder(), cache=tmp_path / "cache"
    )
    assert {int(name[1:]) >= 900 for name in prepared.validation.question_ids} == {True}
    assert {int(name[1:]) for name in prepared.train.question_ids} == set(range(15, 60))
    assert prepared.ledger.dropped["its question is in the validation split"] == 15
    assert all_rows_accounted(prepared.ledger)


def test_a_faulty_row_of_the_held_out_split_is_named_by_its_own_place(tmp_path: Path) -> None:
    rows = [*(reasoning_row(number) for number in range(60)), reasoning_row(60, input="-")]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    data = data_of(path, split="train[:50]", validation_split="train[50:]")
    with pytest.raises(UserError, match=r"split train\[50:\], first at row 10 \(id q0060\)"):
        prepare(data, ByteEncoder(), cache=tmp_path / "cache")


def test_plain_text_is_learned_whole(tmp_path: Path) -> None:
    encoder = ByteEncoder()
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": f"# add\nx = 1 + {number}\n"} for number in range(30)])
    data = data_of(path, format="columns", columns=Columns(prompt=None, response="text"))
    prepared = prepare(data, encoder, cache=tmp_path / "cache")
    assert {(prompt, think) for prompt, think, _ in texts(prepared.train, encoder)} == {("", "")}
    pack = prepared.train.pack(0)
    first = pack.lengths[0]
    assert pack.parts[:first].tolist() == [0] + [2] * (first - 1)
    assert prepared.train.answer_tokens == prepared.train.tokens - prepared.train.documents


@pytest.mark.parametrize("bos_ids", [(2,), (2, 3)])
def test_what_the_tokenizer_puts_first_begins_every_document_and_is_not_learned(
    tmp_path: Path, bos_ids: tuple[int, ...]
) -> None:
    encoder, plain = ByteEncoder(), ByteEncoder()
    encoder.bos_ids = bos_ids
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(30)])
    without = prepare(data_of(path), plain, cache=tmp_path / "plain").train
    split = prepare(data_of(path), encoder, cache=tmp_path / "cache").train
    for number in range(split.documents):
        document, other = split.document(number), without.document(number)
        assert document.ids.tolist() == [*bos_ids, *other.ids.tolist()]
        assert document.prompt_length == len(bos_ids) + other.prompt_length
        assert document.think_length == other.think_length
    assert split.answer_tokens == without.answer_tokens


def test_plain_text_is_learned_whole_behind_what_the_tokenizer_puts_first(tmp_path: Path) -> None:
    encoder = ByteEncoder()
    encoder.bos_ids = (2,)
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": f"# add\nx = 1 + {number}\n"} for number in range(30)])
    data = data_of(path, format="columns", columns=Columns(prompt=None, response="text"))
    split = prepare(data, encoder, cache=tmp_path / "cache").train
    pack = split.pack(0)
    first = pack.lengths[0]
    assert pack.ids[:2].tolist() == [2, ord("#") + 16]
    assert pack.parts[:first].tolist() == [0] + [2] * (first - 1)
    assert split.answer_tokens == split.tokens - split.documents


def test_built_in_questions_and_programs_are_prepared(tmp_path: Path) -> None:
    encoder = ByteEncoder()
    questions = prepare(
        Data(id="builtin:questions", questions=60, validation_questions=12, max_length=2048), encoder, cache=tmp_path
    )
    assert (questions.train.documents, questions.validation.documents) == (60, 12)
    assert all(":validation:" in name for name in questions.validation_ids)
    programs = prepare(
        Data(
            id="builtin:programs",
            questions=40,
            validation_questions=5,
            max_length=2048,
            format="columns",
            columns=Columns(prompt=None, response="text"),
        ),
        encoder,
        cache=tmp_path,
    )
    assert (programs.train.documents, programs.validation.documents) == (40, 5)
    assert {prompt for prompt, _, _ in texts(programs.train, encoder)} == {""}


def test_the_second_call_tokenises_nothing_and_gives_the_same(tmp_path: Path) -> None:
    encoder = ByteEncoder()
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(40)])
    first = prepare(data_of(path), encoder, cache=tmp_path / "cache")
    encoded = encoder.encoded
    assert encoded >= 3 * 40
    second = prepare(data_of(path), encoder, cache=tmp_path / "cache")
    assert encoder.encoded == encoded
    assert second.fingerprint == first.fingerprint
    assert second.ledger == first.ledger
    assert [second.train.pack(i).ids.tolist() for i in range(len(second.train))] == [
        first.train.pack(i).ids.tolist() for i in range(len(first.train))
    ]


def test_what_the_data_depends_on_changes_the_fingerprint(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(40)])
    other = ByteEncoder()
    other.fingerprint = "other bytes"

    def fingerprint(encoder: ByteEncoder, **changes: Any) -> str:
        return prepare(data_of(path, **changes), encoder, cache=tmp_path / "cache").fingerprint

    found = [
        fingerprint(ByteEncoder()),
        fingerprint(other),
        fingerprint(ByteEncoder(), seed=1),
        fingerprint(ByteEncoder(), max_length=900),
    ]
    write_jsonl(path, [reasoning_row(number) for number in range(41)])
    assert len({*found, fingerprint(ByteEncoder())}) == 5


class Listening:
    """A progress that remembers what was said and which work was shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tasks: dict[str, tuple[int, int]] = {}

    def update(self, task: str, done: int, total: int) -> None:
        self.tasks[task] = (done, total)

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize("damage", ["torn", "flipped"])
def test_a_damaged_cache_is_made_again_in_one_line(tmp_path: Path, damage: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(40)])
    first = prepare(data_of(path), ByteEncoder(), cache=tmp_path / "cache")
    before = first.train.pack(0).ids.tolist()
    tokens = tmp_path / "cache" / first.fingerprint / "train" / "tokens.bin"
    content = bytearray(tokens.read_bytes())
    content[100] ^= 1
    tokens.write_bytes(content[:-10] if damage == "torn" else content)
    listening = Listening()
    again = prepare(data_of(path), ByteEncoder(), cache=tmp_path / "cache", progress=listening)
    assert again.train.pack(0).ids.tolist() == before
    assert len(listening.lines) == 1
    assert "train/tokens.bin" in listening.lines[0]
    assert "it is made again" in listening.lines[0]
    assert listening.tasks == {"read rows": (40, 40), "tokenise validation": (10, 10), "tokenise train": (30, 30)}


def test_two_processes_at_once_make_the_data_once(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(300)])
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_prepare import ByteEncoder, data_of, prepare\n"
        "encoder = ByteEncoder()\n"
        "prepared = prepare(data_of(Path(sys.argv[2])), encoder, cache=Path(sys.argv[3]))\n"
        "print(encoder.encoded, prepared.fingerprint, prepared.train.documents)"
    )
    arguments = [sys.executable, "-c", program, str(Path(__file__).parent), str(path), str(tmp_path / "cache")]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    encoded, fingerprints, documents = zip(*printed, strict=True)
    assert sorted(map(int, encoded))[0] == 0
    assert max(map(int, encoded)) >= 900
    assert len(set(fingerprints)) == 1
    assert set(documents) == {"290"}


def test_the_ledger_and_the_preview_can_be_read(tmp_path: Path) -> None:
    encoder = ByteEncoder()
    rows = [reasoning_row(number, thought=1 if number % 9 else 200) for number in range(60)]
    prepared = prepare(data_of(write_jsonl(tmp_path / "rows.jsonl", rows)), encoder, cache=tmp_path / "cache")
    text = render(prepared.ledger)
    assert "questions shared between training and validation: 0" in text
    assert "training" in text
    assert max(len(line) for line in text.splitlines()) <= 120
    assert Ledger.from_json(prepared.ledger.to_json()) == prepared.ledger
    shown = preview(prepared, encoder, 2)
    assert shown.count("=== document") == 2
    assert "tokens, not learned\n" in shown
    assert shown.count("We add. \n</think>") == 2
    assert shown.count("<eos>") == 2


def test_no_row_left_says_why_in_shares(tmp_path: Path) -> None:
    rows = [reasoning_row(number, thought=300) for number in range(40)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError, match=r"0 rows are left for training and validation: 100.0% over max_length"):
        prepare(data_of(path), ByteEncoder(), cache=tmp_path / "cache")
    assert [entry.name for entry in (tmp_path / "cache").iterdir() if "tmp" in entry.name] == []


def test_holding_out_every_question_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [reasoning_row(number) for number in range(10)])
    with pytest.raises(UserError, match="validation_questions is 10 and the data set has 10 questions"):
        prepare(data_of(path), ByteEncoder(), cache=tmp_path / "cache")


def test_rows_over_the_length_by_size_are_not_tokenised(tmp_path: Path) -> None:
    rows = [reasoning_row(number // 10, thought=2 if number % 10 == 0 else 5000) for number in range(400)]
    encoder = ByteEncoder()
    prepared = prepare(data_of(write_jsonl(tmp_path / "rows.jsonl", rows)), encoder, cache=tmp_path / "cache")
    assert prepared.train.documents + prepared.validation.documents == 40
    assert prepared.ledger.rows_encoded == 40
    assert prepared.ledger.dropped == {OVER_LENGTH_BY_SIZE: 360}
    assert encoder.encoded <= 3 * 40 + 64


def test_chosen_rows_are_read_from_the_right_batches() -> None:
    table = pa.table({"n": list(range(5000)), "m": ["x"] * 5000})
    rows = Rows(pa.concat_tables([table.slice(0, 1700), table.slice(1700)]), "numbers")
    wanted = np.array([0, 1, 1023, 1024, 1699, 1700, 4999])
    assert [(index, row["n"]) for index, row in rows.take(wanted, ["n"])] == [(int(i), int(i)) for i in wanted]
    assert [batch.num_rows for batch in rows.scan(["m"])] == [1024, 676, 1024, 1024, 1024, 228]

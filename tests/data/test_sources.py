"""Local files and folders, and what is said of those that cannot be used."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_fakes import ByteEncoder, reasoning_row, write_jsonl, write_repository

from runner.config.job import Data
from runner.data import PreparedData, render
from runner.data.prepare import prepare
from runner.errors import UserError

ROWS = [reasoning_row(number) for number in range(60)]
SPLITS_OF_BOTH: tuple[dict[str, str], ...] = (
    {"validation_split": "test"},
    {"split": "test"},
    {"split": "all"},
    {"split": "train+test"},
    {"split": "train[:20]"},
)


def prepared(tmp_path: Path, path: Path | str, **changes: Any) -> PreparedData:
    data = Data(**{"id": str(path), "max_length": 1024, "validation_questions": 5, **changes})
    return prepare(data, ByteEncoder(), cache=tmp_path / "cache")


def refusal(tmp_path: Path, path: Path | str, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, path, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_parquet_file_a_folder_and_a_slice_are_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS[:30]), tmp_path / "set" / "train-0.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[30:]), tmp_path / "set" / "test-0.parquet")
    assert prepared(tmp_path, tmp_path / "set" / "train-0.parquet").ledger.rows_read == 30
    whole = prepared(tmp_path, tmp_path / "set", validation_split="test")
    assert (whole.ledger.train.rows, whole.ledger.validation.rows) == (30, 5)
    part = prepared(tmp_path, tmp_path / "set", split="train[10:24]")
    assert set(part.train.question_ids) | set(part.validation_ids) == {f"q{number:04d}" for number in range(10, 24)}


def test_a_folder_laid_out_like_the_hub_is_read_by_its_card(tmp_path: Path) -> None:
    path = write_repository(tmp_path / "repository", ROWS)
    assert prepared(tmp_path, path, config="split_0", split="split_0").ledger.rows_read == 60
    told = refusal(tmp_path, path, config="split_0", split="train")
    assert "split train does not exist" in told
    assert "data.split is one of: split_0" in told
    told = refusal(tmp_path, path, config="split_7", split="split_0")
    assert "configuration split_7 does not exist" in told
    assert "data.config is one of: split_0" in told


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = write_repository(tmp_path / "repository", ROWS)
    shard = path / "split_0" / "train-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-500])
    told = refusal(tmp_path, path, config="split_0", split="split_0")
    assert "the Parquet file is truncated" in told
    assert shard.name in told


def test_a_parquet_file_broken_in_the_middle_is_named(tmp_path: Path) -> None:
    path = write_repository(tmp_path / "repository", ROWS)
    shard = path / "split_0" / "train-00000-of-00002.parquet"
    content = bytearray(shard.read_bytes())
    content[4:400] = b"\xff" * 396
    shard.write_bytes(content)
    told = refusal(tmp_path, path, config="split_0", split="split_0")
    assert "the Parquet file is damaged" in told
    assert shard.name in told


def test_html_saved_as_json_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n <!DOCTYPE html><html><body>Sign in</body></html>\n")
    assert "the data file holds HTML, not data" in refusal(tmp_path, path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"id": "1"}\n{"id": \n{"id": "3"}\n', "line 2 is not JSON"),
        ('{"id": "1"}\n5\n', "line 2 is not a JSON object"),
        ("", "the data file is empty"),
    ],
)
def test_a_broken_json_lines_file_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    found = refusal(tmp_path, path)
    assert told in found
    assert "rows.jsonl" in found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing.jsonl", "there is no such file or folder"),
        ("./missing", "there is no such file or folder"),
        ("/nowhere/at/all", "there is no such file or folder"),
        ("a/b/c", "there is no such file or folder"),
        ("builtin:riddles", "no such built-in data set"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(tmp_path: Path, name: str, told: str) -> None:
    assert told in refusal(tmp_path, name)


def test_a_folder_without_data_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    assert "holds no data file" in refusal(tmp_path, tmp_path / "empty")
    assert "its name must end in .parquet" in refusal(tmp_path, tmp_path / "empty" / "notes.txt")


def test_a_split_that_a_folder_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("train", "test"):
        write_jsonl(tmp_path / "set" / f"{name}.jsonl", ROWS)
    told = refusal(tmp_path, tmp_path / "set", split="validation")
    assert "split validation does not exist" in told
    assert told.endswith("data.split is one of: train, test")


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ("test", "split test does not exist"),
        ("train[5:", "split train[5: cannot be read"),
        ("train[600:974]", "split train[600:974] cannot be read"),
        ("train[90%:110%]", "split train[90%:110%] cannot be read"),
        ("[x]", "split [x] cannot be read"),
    ],
)
def test_a_split_that_is_not_there_is_refused(tmp_path: Path, split: str, told: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    assert told in refusal(tmp_path, path, split=split)


def test_questions_that_are_a_dash_are_refused_with_the_remedy(tmp_path: Path) -> None:
    rows = [*ROWS, *(reasoning_row(100 + number, input="-") for number in range(3))]
    told = refusal(tmp_path, write_repository(tmp_path / "repository", rows), config="split_0", split="split_0")
    assert "3 of 63 rows cannot be used, 0.1% is the limit: 3 question is '-'" in told
    assert "first at row 60 (id q0100)" in told
    assert "split_0 of OpenCodeReasoning" in told
    assert "dataset, split and index" in told


def test_a_few_odd_rows_are_set_aside_and_counted(tmp_path: Path) -> None:
    rows = [reasoning_row(number) for number in range(2000)]
    rows[700] = reasoning_row(700, input="  ")
    rows[900] = reasoning_row(900, output="")
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    ledger = prepared(tmp_path, path).ledger
    assert ledger.dropped == {"empty question": 1, "empty answer": 1}
    assert [(entry.row, entry.id, entry.reason) for entry in ledger.quarantined] == [
        (700, "q0700", "empty question"),
        (900, "q0900", "empty answer"),
    ]
    assert f"{path} split train row 700 (id q0700): empty question" in render(ledger)
    rows[1000] = reasoning_row(1000, input="-")
    assert "3 of 2,000 rows cannot be used" in refusal(tmp_path, write_jsonl(tmp_path / "rows.jsonl", rows))


def test_a_missing_column_is_told_with_those_present(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "x", "code": "y"}])
    told = refusal(tmp_path, path, split="train")
    assert "column input, output, id is missing" in told
    assert "has the columns code, text" in told


def test_a_file_of_another_split_laid_beside_leaves_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set" / "train.jsonl", ROWS[:30])
    alone = prepared(tmp_path, tmp_path / "set").fingerprint
    test = write_jsonl(tmp_path / "set" / "test.jsonl", ROWS[30:])
    assert prepared(tmp_path, tmp_path / "set").fingerprint == alone
    both = [prepared(tmp_path, tmp_path / "set", **asked).fingerprint for asked in SPLITS_OF_BOTH]
    write_jsonl(test, ROWS[20:])
    assert prepared(tmp_path, tmp_path / "set").fingerprint == alone
    after = [prepared(tmp_path, tmp_path / "set", **asked).fingerprint for asked in SPLITS_OF_BOTH]
    assert len({alone, *both, *after}) == 1 + 2 * len(SPLITS_OF_BOTH)


def test_a_broken_file_of_another_configuration_is_not_looked_at(tmp_path: Path) -> None:
    path = write_repository(tmp_path / "repository", ROWS)
    card = (path / "README.md").read_text()
    second = "- config_name: split_1\n  data_files: split_1/*\n---\n# "
    (path / "README.md").write_text(card.replace("---\n# ", second))
    (path / "split_1").mkdir()
    broken = path / "split_1" / "train.parquet"
    broken.write_bytes((path / "split_0" / "train-00000-of-00002.parquet").read_bytes()[:-500])
    assert prepared(tmp_path, path, config="split_0", split="split_0").ledger.rows_read == 60
    told = refusal(tmp_path, path, config="split_1", split="train")
    assert "the Parquet file is truncated" in told
    assert str(broken) in told


def test_a_set_of_two_configurations_asks_for_one(tmp_path: Path) -> None:
    path = write_repository(tmp_path / "repository", ROWS)
    card = (path / "README.md").read_text()
    second = "- config_name: split_1\n  data_files: split_0/*00001*\n---\n# "
    (path / "README.md").write_text(card.replace("---\n# ", second))
    told = refusal(tmp_path, path, split="split_0")
    assert "configuration (none named) does not exist" in told
    assert "data.config is one of: split_0, split_1" in told

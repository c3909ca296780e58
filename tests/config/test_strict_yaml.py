"""Strict YAML: what is typed how, and what is refused with which line."""

from pathlib import Path

import pytest

from runner.config.document import MAX_BYTES, MAX_DEPTH, Value, read_document, read_value
from runner.errors import JobFileError, UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2.0e-4", 2e-4),
        ("1.", 1.0),
        ("-.5", -0.5),
        ("-.inf", float("-inf")),
        ("12", 12),
        ("+3", 3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("~", None),
        ("", None),
        ("null", None),
        ("no", "no"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2026-11-01", "2026-11-01"),
        ("1_000", "1_000"),
        ("'1e-4'", "1e-4"),
        ("train[600:974]", "train[600:974]"),
        ("[a, 1, null]", ("a", 1, None)),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("9" * 41, "9" * 41),
    ],
)
def test_scalars_are_typed_as_yaml_1_2_does(text: str, value: Value) -> None:
    found = read_value(text, "-o x")
    assert found == value
    assert type(found) is type(value)


def faults_of_form(file: Path) -> tuple[str, ...]:
    """Some faults end the reading, the others are kept until the keys have been looked at."""
    try:
        return read_document(file).faults
    except JobFileError as error:
        return error.faults


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"name: a\ntrain:\n  steps: 1\nname: b\n", ("job.yaml:4:", "name", "lines 1 and 4")),
        (b"train:\n  steps: 1\n  steps: 1\n", ("job.yaml:3:", "train.steps", "lines 2 and 3")),
        (b"a: &x 1\nb: *x\n", ("job.yaml:1:", "anchors")),
        (b"a: [1]\nb: *x\n", ("job.yaml:2:", "aliases")),
        (b"a: !!python/object/apply:os.system [id]\n", ("job.yaml:1:", "!!python/object/apply:os.system")),
        (b"a: !!int 3\n", ("job.yaml:1:", "!!int")),
        (b"a: 1\nname: caf\xe9\n", ("job.yaml:2:", "0xe9", "UTF-8")),
        (b"\xff\xfea\x00", ("job.yaml:1:", "UTF-8")),
        (b"a: b: c\n", ("job.yaml:1:5:", "not YAML")),
        (b"a: [1, 2\nb: 3\n", ("job.yaml:2:", "not YAML")),
        (b"train:\n\tsteps: 1\n", ("job.yaml:2:1:", "not YAML")),
        (b"a: 1\n---\nb: 2\n", ("job.yaml:2:1:", "second document")),
        (b"a: 1\nb: \x07\n", ("job.yaml:2:", "not YAML")),
        (b'a: "\\x1b[31m"\n', ("job.yaml:1:", "control character")),
        (b'a: 1\nb: "\\UFFFFFFFF"\n', ("job.yaml:2:", "not YAML")),
        (b'"a\\nb": 1\n? [x]\n: 2\n', ("job.yaml:2:", "key is not plain text")),
        (b"- a\n- b\n", ("job.yaml:1:", "mapping")),
        (b"", ("job.yaml", "holds no keys")),
        (b"# only a comment\n", ("job.yaml", "holds no keys")),
        (b"a: " + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, ("job.yaml:1:", "deeper")),
        (b"a: 1\n" * (MAX_BYTES // 5 + 1), ("job.yaml", "larger than 262,144 bytes")),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(
    tmp_path: Path, content: bytes, parts: tuple[str, ...]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    faults = faults_of_form(file)
    for part in parts:
        assert part in faults[0]
    assert all("\n" not in fault for fault in faults)


def test_the_deepest_allowed_nesting_is_read(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("a: " + "[" * (MAX_DEPTH - 2) + "1" + "]" * (MAX_DEPTH - 2))
    assert read_document(file).faults == ()


def test_an_alias_bomb_is_refused_at_its_first_anchor(tmp_path: Path) -> None:
    file = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    file.write_text("\n".join(lines))
    with pytest.raises(JobFileError, match=r"bomb\.yaml:1: anchors"):
        read_document(file)


def test_every_key_knows_its_line(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: a\nlora:\n  rank: 2\n  targets:\n    - q_proj\n    - k_proj\n")
    places = read_document(file).places
    assert places["name",] == f"{file}:1"
    assert places["lora", "rank"] == f"{file}:3"
    assert places["lora", "targets", 1] == f"{file}:6"


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("name: a\n")
    with pytest.raises(UserError, match=r"does not exist.*has other\.yaml"):
        read_document(tmp_path / "job.yaml")
    with pytest.raises(UserError, match=r"is a folder.*has other\.yaml"):
        read_document(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read_document(Path("a\0b"))


def test_what_a_file_holds_is_told_on_one_line_that_can_be_printed() -> None:
    error = UserError("column prompt holds struct<a\nb: null>", "rows\x00.parquet", "name another")
    assert str(error) == "column prompt holds struct<a b: null>; rows\\x00.parquet; name another"
    assert JobFileError("job.yaml", ("the tag !\x00 is not read",)).faults == ("the tag !\\x00 is not read",)

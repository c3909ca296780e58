"""Whatever a job file holds, loading it gives a job or an error of ours, each fault on one line."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from job_texts import KEYS, names, nested, overrides, sound, trees, written, yaml_noise
from runner.config.load import load_job

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.binary(max_size=200))
@example(b'"\\uD800": 1')
@example(b'a: "\\UFFFFFFFF"')
@example(b"%YAML 9" + b"9" * 5000 + b".1\n---\na: 1\n")
@example(b"name: " + b"9" * 5000)
@example("a: \u2028\n".encode())
@example(b"? {a: b}\n: c")
@quick
def test_random_bytes_never_raise_anything_else(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(data)
    sound(lambda: load_job(file))


@given(yaml_noise)
@quick
def test_random_yaml_characters_never_raise_anything_else(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    sound(lambda: load_job(file))


@given(st.dictionaries(names, trees, max_size=5))
@quick
def test_random_trees_with_real_keys_never_raise_anything_else(tmp_path: Path, tree: dict[str, object]) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(written(tree))
    sound(lambda: load_job(file))


@given(st.sampled_from(KEYS), trees)
@quick
def test_any_value_of_any_known_key_is_a_job_or_a_fault(tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(written(nested(key, value)))
    sound(lambda: load_job(file))


@given(overrides)
@quick
def test_random_overrides_never_raise_anything_else(words: list[str]) -> None:
    sound(lambda: load_job(None, words))


def test_the_fuzzers_draw_from_the_real_keys() -> None:
    assert "train.learning_rate" in KEYS
    assert set("".join(KEYS)) <= set(string.ascii_lowercase + "._")
    with pytest.raises(AssertionError):
        sound(lambda: "no job")

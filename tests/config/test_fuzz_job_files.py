"""Whatever a job file holds, loading it gives a job or an error of ours, each fault on one line."""

import string
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner.config.job import Job
from runner.config.keys import known_keys
from runner.config.load import load_job
from runner.errors import JobFileError, UserError

KEYS = sorted(known_keys(Job))
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["nf4", "none", "auto", "1e-4", "~", "<<", "=", "all-linear", "0x", ".", "-"])
)
names = st.sampled_from([part for key in KEYS for part in key.split(".")]) | st.text(max_size=8)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
yaml_noise = st.text(alphabet="abt:,[]{}&*!|>%@`'\"#-?\\ \n\t~.01exuU_<=", max_size=60)


def sound(load: Callable[[], object]) -> None:
    try:
        assert isinstance(load(), Job)
    except UserError as error:
        faults = error.faults if isinstance(error, JobFileError) else (str(error),)
        assert faults
        assert all(fault and len(fault.splitlines()) == 1 and fault.isprintable() for fault in faults)
        "\n".join(faults).encode()


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
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    sound(lambda: load_job(file))


@given(st.sampled_from(KEYS), trees)
@quick
def test_any_value_of_any_known_key_is_a_job_or_a_fault(tmp_path: Path, key: str, value: object) -> None:
    tree: object = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    sound(lambda: load_job(file))


@given(
    st.lists(st.builds("{}={}".format, st.sampled_from(KEYS) | st.text(max_size=9), yaml_noise) | st.text(), max_size=3)
)
@quick
def test_random_overrides_never_raise_anything_else(overrides: list[str]) -> None:
    sound(lambda: load_job(None, overrides))


def test_the_fuzzers_draw_from_the_real_keys() -> None:
    assert "train.learning_rate" in KEYS
    assert set("".join(KEYS)) <= set(string.ascii_lowercase + "._")
    with pytest.raises(AssertionError):
        sound(lambda: "no job")

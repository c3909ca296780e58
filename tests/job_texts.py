"""What fuzzers of job files draw from, and what loading one may come to: a job, or faults of one line each."""

from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

from runner.config.job import Job
from runner.config.keys import known_keys
from runner.errors import JobFileError, UserError

KEYS = sorted(known_keys(Job))
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
overrides = st.lists(
    st.builds("{}={}".format, st.sampled_from(KEYS) | st.text(max_size=9), yaml_noise) | st.text(), max_size=3
)


def nested(key: str, value: object) -> object:
    """The tree in which the dotted ``key`` has ``value``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def written(tree: object) -> bytes:
    """``tree`` as a job file."""
    text: Any = yaml.safe_dump(tree, allow_unicode=True)
    return bytes(text, "utf-8")


def sound(load: Callable[[], object]) -> None:
    """Fails unless ``load`` gives a job or an error of ours."""
    try:
        assert isinstance(load(), Job)
    except UserError as error:
        faults = error.faults if isinstance(error, JobFileError) else (str(error),)
        assert faults
        assert all(fault and len(fault.splitlines()) == 1 and fault.isprintable() for fault in faults)
        "\n".join(faults).encode()

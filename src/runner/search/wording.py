"""Configurations as a reader wants them, beside the words for numbers and times that all reports share.

What is said with them is up to ``verdict``, ``live`` and ``page``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from runner.report.wording import counted as counted
from runner.report.wording import gap as gap
from runner.report.wording import listed as listed
from runner.report.wording import loss as loss
from runner.report.wording import number as number
from runner.report.wording import span as span
from runner.search.pairs import Pair
from runner.search.records import Value
from runner.search.space import STOP_STEP


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """For every key its last part in words; the whole key where two end alike."""
    keys = tuple(keys)
    ends = Counter(key.rpartition(".")[2] for key in keys)
    return {key: _words(key) if ends[key.rpartition(".")[2]] == 1 else key for key in keys}


def configuration(values: Mapping[str, Value], keys: Sequence[str] | None = None) -> str:
    """``rank 16, learning rate 0.003``; of some ``keys`` alone if given, by the names that all keys give them."""
    names = short_names(values)
    return ", ".join(f"{names[key]} {number(values[key])}" for key in values if keys is None or key in keys)


def spoken(values: Mapping[str, Value]) -> str:
    """``rank 16 and learning rate 0.003``, to stand in a sentence."""
    names = short_names(values)
    return listed([f"{names[key]} {number(value)}" for key, value in values.items()])


def ending(pair: Pair) -> str:
    """``75``, or ``75, no decay``."""
    return f"{pair.stop_step:,}" + ("" if pair.decayed else ", no decay")


def _words(key: str) -> str:
    return "stop step" if key == STOP_STEP else key.rpartition(".")[2].replace("_", " ")

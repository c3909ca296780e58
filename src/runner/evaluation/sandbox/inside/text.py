"""JSON as text and back, by the C functions that the module json is made of: importing it takes 9 ms of every start.

What the values mean is not known here.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False  # typing itself takes 3 ms of every start
if TYPE_CHECKING:
    from typing import Any, NoReturn


class Reading:
    """How json's own decoder reads: the plain types, and numbers that are none."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = staticmethod(
        {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}.__getitem__
    )
    memo: dict[str, str] = {}  # noqa: RUF012  # the scanner's own


_scan = make_scanner(Reading)  # type: ignore[arg-type]  # its stub asks for a scanner


def dumps(value: Any) -> str:
    """As ``json.dumps``: the same text, the same errors."""
    encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def loads(text: str) -> Any:
    """As ``json.loads`` for one value without space around it.  Raises ``ValueError`` for anything else."""
    try:
        value, end = _scan(text, 0)
    except StopIteration as error:
        raise ValueError("no JSON") from error
    if end != len(text):
        raise ValueError("more than one value")
    return value


def _refuse(value: Any) -> NoReturn:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

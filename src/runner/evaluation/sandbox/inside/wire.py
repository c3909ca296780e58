"""Values between a candidate's box and a test's box as JSON: plain ones by value, all others by a number.

What is decoded consists of exact built-in types, so that no code of the sender ever compares itself.
"""

from __future__ import annotations

import builtins
import posix

from runner.evaluation.sandbox.inside.text import dumps, loads

TYPE_CHECKING = False  # typing itself takes 3 ms of every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    ByNumber = Callable[[Any], int]
    FromNumber = Callable[[int], Any]

LINE_BYTES = 1 << 23


def encode(value: Any, by_number: ByNumber) -> Any:
    """JSON for ``value``; a subclass of a plain type goes as that type, any other object as ``by_number`` names it."""
    if value is None or isinstance(value, bool):
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, list):
        return [encode(item, by_number) for item in value]
    if isinstance(value, dict):
        pairs = [[encode(key, by_number), encode(item, by_number)] for key, item in value.items()]
        return {"dict": pairs}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item, by_number) for item in value]}
    if isinstance(value, bytes | bytearray):
        return {type(value).__name__: value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    name = value.__name__ if isinstance(value, type) else ""
    if name and vars(builtins).get(name) is value:
        return {"type": name}
    return {"object": by_number(value)}


def decode(message: Any, from_number: FromNumber) -> Any:
    """The value that ``encode`` made ``message`` of.  Raises ``ValueError`` for anything else."""
    if isinstance(message, list):
        return [decode(item, from_number) for item in message]
    if not isinstance(message, dict):
        return message
    if len(message) != 1:
        raise ValueError("not a value")
    ((kind, content),) = message.items()
    match kind, content:
        case "dict", list():
            return {decode(key, from_number): decode(item, from_number) for key, item in content}
        case (("tuple" | "set" | "frozenset"), list()):
            items = [decode(item, from_number) for item in content]
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](items)
        case (("bytes" | "bytearray"), str()):
            return bytes.fromhex(content) if kind == "bytes" else bytearray.fromhex(content)
        case "complex", [int() | float() as real, int() | float() as imaginary]:
            return complex(real, imaginary)
        case "type", str() if isinstance(found := vars(builtins).get(content), type):
            return found
        case "object", int():
            return from_number(content)
    raise ValueError("not a value")


def send(descriptor: int, message: Any) -> None:
    """One line.  Raises ``BrokenPipeError`` when nobody listens, ``ValueError`` when it is too long."""
    data = dumps(message).encode() + b"\n"
    if len(data) > LINE_BYTES:
        raise ValueError(f"more than {LINE_BYTES} bytes of values")
    while data:
        data = data[posix.write(descriptor, data) :]


def receive(file: BinaryIO) -> Any:
    """The next line.  Raises ``EOFError`` when there is none, or none of allowed length."""
    line = file.readline(LINE_BYTES + 1)
    if not line.endswith(b"\n"):
        raise EOFError("the other side ended, or sent too long a line")
    return loads(line[:-1].decode())

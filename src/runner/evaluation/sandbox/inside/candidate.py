"""In a box: an untrusted program that serves what a test, in another box, asks of its objects.

It never sees the test.  The first message says whether the program loaded, with the names asked for.
"""

from __future__ import annotations

import posix
from _operator import getitem  # operator itself is Python and takes longer

from runner.evaluation.sandbox.inside.limits import begin, load, silence, told
from runner.evaluation.sandbox.inside.wire import decode, encode, receive, send

TYPE_CHECKING = False  # typing itself takes 3 ms of every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *arguments, **options: function(*arguments, **options),
    "getattr": getattr,
    "setattr": setattr,
    "getitem": getitem,
    "iter": iter,
    "next": next,
    "len": len,
}


class Objects:
    """What the test may name by number: every object once, kept alive."""

    def __init__(self) -> None:
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def number_of(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return self._numbers[id(value)]

    def __getitem__(self, number: int) -> Any:
        return self._objects[number]


def main(status: int, request: int, reading: int, writing: int) -> None:
    asked = begin(status, request)
    posix.close(silence())
    objects = Objects()
    try:
        names = load(asked["code"], "candidate")
        found = {name: encode(names[name], objects.number_of) for name in asked["names"] if name in names}
        send(writing, {"names": found})
    except BaseException as error:  # the program is unknown: whatever it raises is its answer  # noqa: BLE001
        send(writing, {"failed": told(error)})
        posix._exit(1)
    with open(reading, "rb") as questions:
        while True:
            send(writing, _answer(receive(questions), objects))


def _answer(question: dict[str, Any], objects: Objects) -> dict[str, Any]:
    try:
        arguments = decode(question["arguments"], objects.__getitem__)
        options = decode(question["options"], objects.__getitem__)
        value = OPERATIONS[question["operation"]](objects[question["object"]], *arguments, **options)
        return {"value": encode(value, objects.number_of)}
    except BaseException as error:  # as in the same process, what it raises reaches the test  # noqa: BLE001
        return {"raised": [type(error).__name__, *told(error)]}

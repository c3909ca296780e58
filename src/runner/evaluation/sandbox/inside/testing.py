"""In a box of its own: trusted test code, run against stand-ins for an untrusted program's objects.

It alone is given the nonce, and tells it only after the last line of the test code has run.
"""

from __future__ import annotations

import builtins
import posix
import sys

from runner.evaluation.sandbox.inside.limits import begin, load, silence, told
from runner.evaluation.sandbox.inside.text import dumps
from runner.evaluation.sandbox.inside.wire import decode, encode, receive, send

TYPE_CHECKING = False  # typing itself takes 3 ms of every start
if TYPE_CHECKING:
    from typing import Any, BinaryIO, NoReturn

# raised on this side, these would end an iteration in the test code and not the test
NEVER_RAISED = (StopIteration, StopAsyncIteration, GeneratorExit)


class CandidateEnded(BaseException):
    """The other box is gone or talks nonsense: no ``except Exception`` of the test code may go on."""


class CandidateFailed(BaseException):
    """The program did not load; its two arguments are the kind and the text."""


class CandidateError(Exception):
    """The candidate raised something that this side does not know, or may not raise."""


class Line:
    """The conversation with the candidate's box."""

    def __init__(self, questions: int, answers: BinaryIO) -> None:
        self._questions = questions
        self._answers = answers
        self._remotes: dict[int, Remote] = {}

    def names(self) -> dict[str, Any]:
        """What the program defines of the names asked for."""
        match self._receive():
            case {"names": dict(found)}:
                return {str(name): self.decoded(value) for name, value in found.items()}
            case {"failed": [str(kind), str(text)]}:
                raise CandidateFailed(kind, text)
        raise CandidateEnded("no names came")

    def ask(self, operation: str, remote: Remote, *arguments: Any, **options: Any) -> Any:
        """The value of an operation on an object of the candidate, of exact built-in types or a stand-in."""
        number = object.__getattribute__(remote, "_number")
        question = {"operation": operation, "object": number, "arguments": list(arguments), "options": options}
        question["arguments"] = encode(question["arguments"], self._number_of)
        question["options"] = encode(options, self._number_of)
        try:
            send(self._questions, question)
        except BrokenPipeError as error:
            raise CandidateEnded("the program ended") from error
        match self._receive():
            case {"value": value}:
                return self.decoded(value)
            case {"raised": [str(name), str(kind), str(text)]}:
                _raise(operation, name, kind, text)
        raise CandidateEnded("an answer that is none")

    def decoded(self, value: Any) -> Any:
        try:
            return decode(value, self._remote)
        except (ValueError, TypeError, RecursionError) as error:
            raise CandidateEnded(f"a value that is none: {error}") from error

    def _receive(self) -> Any:
        try:
            return receive(self._answers)
        except (EOFError, OSError, ValueError, RecursionError) as error:
            raise CandidateEnded(f"the program ended: {error}") from error

    def _remote(self, number: int) -> Remote:
        return self._remotes.setdefault(number, Remote(self, number))

    def _number_of(self, value: Any) -> int:
        if not isinstance(value, Remote):
            raise TypeError(f"a {type(value).__name__} cannot be given to the program")
        return int(object.__getattribute__(value, "_number"))


class Remote:
    """A stand-in for an object of the candidate; equal to itself alone, whatever the object says."""

    def __init__(self, line: Line, number: int) -> None:
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _ask("call", self, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return _ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return _ask("getitem", self, key)

    def __iter__(self) -> Any:
        return _ask("iter", self)

    def __next__(self) -> Any:
        return _ask("next", self)

    def __len__(self) -> int:
        return int(_ask("len", self))


def _ask(operation: str, remote: Remote, *arguments: Any, **options: Any) -> Any:
    line: Line = object.__getattribute__(remote, "_line")
    return line.ask(operation, remote, *arguments, **options)


def _raise(operation: str, name: str, kind: str, text: str) -> NoReturn:
    """As in one process: a built-in exception by its name, anything else as ``CandidateError``."""
    if operation == "next" and name == "StopIteration":
        raise StopIteration
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, Exception) and not issubclass(known, NEVER_RAISED):
        try:
            error = known(text)
        except TypeError:  # some want more than a text
            error = CandidateError(text)
        raise error
    raise CandidateError(text or kind)


def main(status: int, request: int, reading: int, writing: int) -> None:
    asked = begin(status, request)
    speaking = silence()
    try:
        with open(reading, "rb") as answers:
            load(asked["tests"], "__main__", _names(Line(writing, answers).names(), asked))
        report = {"kind": "ran through", "nonce": asked["nonce"]}
    except CandidateFailed as error:
        report = {"kind": error.args[0], "text": error.args[1]}
    except AssertionError as error:
        report = {"kind": "wrong answer", "text": str(error)[:300]}
    except BaseException as error:  # whatever ends the test code before its end is no pass  # noqa: BLE001
        kind, text = told(error)
        report = {"kind": "exception" if kind == "syntax" else kind, "text": text}
    posix.write(speaking, dumps(report).encode())
    posix._exit(0)


def _names(found: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The candidate's names, as far as asked for, and modules of the standard library that the tests forgot."""
    modules = {name: __import__(name) for name in asked["modules"] if name in sys.stdlib_module_names}
    return modules | {name: value for name, value in found.items() if name in asked["names"]}

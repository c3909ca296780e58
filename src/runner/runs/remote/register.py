"""Who may write a run of a bucket and what of it is published: a chain of small objects, each created only if absent.

The highest number counts.  A change is the next number, so that of two writers who start from the same one exactly
one gets through, and whoever has been overtaken can publish nothing.  It needs no more of a store than
``If-None-Match: *`` (S3) or ``ifGenerationMatch=0`` (Google).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias
from uuid import uuid4

from runner.errors import UserError
from runner.runs.durable import JSON
from runner.runs.remote.store import Store

CHAIN = "register"
FORMAT = 1
HISTORY = 64  # entries by which one that has been followed knows that it was


@dataclass(frozen=True)
class Holder:
    """The process that holds a run: its identity, host, process id, since when (ISO 8601, UTC).

    ``place`` names the file that it keeps locked on its machine: whoever holds that lock knows it to be dead.
    """

    identity: str
    host: str
    pid: int
    since: str
    place: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@dataclass(frozen=True)
class Entry:
    """What holds of a run: its state, who holds it, whose attempt may publish, which folders are published.

    ``folders`` names each published folder, as ``checkpoints/step-000500`` or ``final``, and where its files lie.
    """

    number: int = 0
    nonce: str = ""
    history: tuple[str, ...] = ()
    state: Mapping[str, JSON] | None = None
    holder: Holder | None = None
    attempt: str = ""
    folders: Mapping[str, str] = field(default_factory=dict)


Change: TypeAlias = Callable[[Entry], Entry]


class Register:
    """The chain of one run."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(self) -> Entry:
        """What holds now; number 0 where there is nothing yet."""
        while True:
            number = max(self._numbers(), default=0)
            if number == 0:
                return Entry()
            try:
                return _entry(self._store.read(_key(number)), self._store.url)
            except FileNotFoundError:
                continue  # overtaken and removed between the two questions

    def advance(self, change: Change) -> Entry:
        """Let ``change`` of what holds hold; whatever it raises is raised, and nothing is changed then.

        It is called again when another writer came between, with what holds since; and perhaps with what it made
        itself, so that it must not matter whether it is done twice.
        """
        while True:
            current = self.newest()
            history = (*current.history, current.nonce)[-HISTORY:]
            proposal = replace(change(current), number=current.number + 1, nonce=uuid4().hex, history=history)
            if not self._created(proposal):
                continue
            numbers = self._numbers()
            if max(numbers) > proposal.number and proposal.nonce not in self.newest().history:
                continue  # a number that others had left behind and removed: it counts for nothing
            self._store.delete(_key(number) for number in numbers if number < proposal.number)
            return proposal

    def _created(self, entry: Entry) -> bool:
        """Whether ``entry`` was made; also where the answer that told so was lost and the question repeated."""
        if self._store.create(_key(entry.number), _content(entry)):
            return True
        try:
            return _entry(self._store.read(_key(entry.number)), self._store.url).nonce == entry.nonce
        except FileNotFoundError:
            return False

    def _numbers(self) -> list[int]:
        names = (key.removeprefix(f"{CHAIN}/").removesuffix(".json") for key in self._store.keys(CHAIN))
        return [int(name) for name in names if name.isdecimal()]


def _key(number: int) -> str:
    return f"{CHAIN}/{number:08d}.json"


def _content(entry: Entry) -> bytes:
    return (json.dumps({"format": FORMAT, **asdict(entry)}, indent=1) + "\n").encode()


def _entry(content: bytes, url: str) -> Entry:
    values: dict[str, Any] = json.loads(content)
    if values.pop("format") > FORMAT:
        raise UserError("a newer runner wrote this run", url, "update runner")
    holder, history = values.pop("holder"), tuple(values.pop("history"))
    return Entry(holder=Holder(**holder) if holder else None, history=history, **values)

"""What the data path asks of a tokenizer: plain ids out of plain text, and back.

Loading a real tokenizer is left to ``runner.model``; the data path never sees a model.
"""

from collections.abc import Sequence
from typing import Protocol


class TextEncoder(Protocol):
    """A tokenizer that treats every text as text.

    ``fingerprint`` changes whenever some text would get other ids; prepared data is kept by it.
    """

    @property
    def bos_ids(self) -> tuple[int, ...]:
        """What stands before every document, never learned; mostly one id or none."""
        ...

    @property
    def eos_id(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    @property
    def vocabulary(self) -> int:
        """One more than the largest id."""
        ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; no special token is added, and one spelled inside a text stays text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``, special tokens spelled out."""
        ...

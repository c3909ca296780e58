"""Where the documents of a step begin and end, for whatever kernel keeps them apart."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Documents:
    """Where documents begin and end in ``rows`` tokens laid end to end: buffers that no document leaves."""

    borders: Tensor  # int32 (at least documents + 1, padded with the end), on the device
    lengths: tuple[int, ...]
    longest: int  # tokens of one buffer, which no document is longer than

    def spans(self) -> Iterator[slice]:
        """The rows of each document."""
        start = 0
        for length in self.lengths:
            yield slice(start, start + length)
            start += length

"""Best-fit-decreasing packing of document lengths into buffers of one size.

Pure arithmetic on lengths: ids, files and order of training are left to ``shards`` and ``order``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packing:
    """Documents of each pack: pack ``i`` holds ``documents[offsets[i]:offsets[i + 1]]``."""

    offsets: NDArray[np.int64]
    documents: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def pack_lengths(lengths: Sequence[int] | NDArray[np.int64], capacity: int) -> Packing:
    """Every document in exactly one pack, no pack over ``capacity``, none cut.

    The longest goes first, each into the fullest pack that takes it (best fit decreasing: at most 11/9 of the
    fewest packs possible, plus 6/9; Dósa et al. 2013 for first fit, which bounds best fit as well).  Ties
    follow document order, so equal lengths give equal packs.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and (sizes.min() < 1 or sizes.max() > capacity):
        raise AssertionError(f"lengths must lie in 1..{capacity}, found {sizes.min()}..{sizes.max()}")
    packs: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # packs by free tokens
    rooms = 0  # bit r set: some pack has r tokens free
    for document in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[document])
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            pack = with_room[room].pop()
            if not with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, pack = capacity, len(packs)
            packs.append([])
        packs[pack].append(document)
        with_room[room - size].append(pack)
        rooms |= 1 << (room - size)
    offsets = np.concatenate(([0], np.cumsum([len(pack) for pack in packs], dtype=np.int64))).astype(np.int64)
    return Packing(offsets, np.array([document for pack in packs for document in pack], dtype=np.int64))

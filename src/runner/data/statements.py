"""Which question statements are the same question: equal after normalising, or near-identical by MinHash.

Where statements come from, and what is done with one question's rows, is left to ``catalogue``.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SHINGLE_WORDS = 3
LEAST_WORDS = 20  # below it one changed word is often another question: only equal statements merge
SIMILARITY = 0.7  # least Jaccard similarity of the shingles, as the signatures estimate it
BANDS, ROWS_PER_BAND = 24, 5  # finds a pair of similarity 0.7 with probability 0.99, one of 0.5 with 0.53
_PERMUTATIONS = BANDS * ROWS_PER_BAND
_TOKEN = re.compile(r"\w+|[^\w\s.,;:!?'\"`$]")

_random = np.random.default_rng(20)
_MULTIPLIERS = _random.integers(0, 2**63, size=_PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_ADDENDS = _random.integers(0, 2**63, size=_PERMUTATIONS, dtype=np.uint64)
_PLACES = _random.integers(0, 2**63, size=SHINGLE_WORDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_BAND_MIX = _random.integers(0, 2**63, size=ROWS_PER_BAND, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

Signature = NDArray[np.uint32]


def words_of(statement: str) -> list[str]:
    """The statement's words and operators: case, width, blanks and sentence punctuation do not count."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", statement).casefold())


def statement_key(words: Iterable[str]) -> bytes:
    """Equal for statements with equal words; 16 bytes."""
    return hashlib.blake2b("\n".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def signature_of(words: list[str]) -> Signature | None:
    """MinHash signature ``(120,)`` over runs of three words; None if the statement is short."""
    if len(words) < LEAST_WORDS:
        return None
    codes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint64)
    runs = len(codes) - SHINGLE_WORDS + 1
    shingles = np.zeros(runs, dtype=np.uint64)
    for place in range(SHINGLE_WORDS):
        shingles += _mixed(codes[place : place + runs] * _PLACES[place])
    shingles = np.unique(_mixed(shingles))
    hashes = (_MULTIPLIERS[:, None] * shingles + _ADDENDS[:, None]) >> np.uint64(32)
    signature: Signature = hashes.min(axis=1).astype(np.uint32)
    return signature


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return values ^ (values >> np.uint64(32))


def near_identical_pairs(signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
    """``(pairs, 2)`` of rows of ``signatures (n, 120)`` that agree in at least ``SIMILARITY`` of their places.

    Candidates share a band; in each bucket every row is compared with the one before it and with the first.
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in range(BANDS):
        part = signatures[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND].astype(np.uint64)
        keys = (part * _BAND_MIX).sum(axis=1, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        same = np.concatenate(([False], keys[order][1:] == keys[order][:-1]))
        places = np.flatnonzero(same)
        firsts = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))[places]
        for partner in (places - 1, firsts):
            pairs = np.stack((order[partner], order[places]), axis=1)
            found.append(pairs[_agreement(signatures, pairs) >= SIMILARITY])
    return np.unique(np.concatenate(found), axis=0)


def _agreement(signatures: NDArray[np.uint32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    parts = [
        (signatures[chunk[:, 0]] == signatures[chunk[:, 1]]).mean(axis=1)
        for chunk in np.array_split(pairs, max(1, len(pairs) // 65536))
    ]
    return np.concatenate(parts)


def components(count: int, links: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """``(count,)`` group of each node, numbered from 0 by first member; linked nodes share one."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for left, right in links:
        a, b = root(left), root(right)
        parent[max(a, b)] = min(a, b)
    _, groups = np.unique([root(node) for node in range(count)], return_inverse=True)
    return groups.astype(np.int64)

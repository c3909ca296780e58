"""Tokenised documents on disk: written once as flat arrays, read memory-mapped as packed buffers.

Which documents there are is decided in ``documents``; the folder's safety (checksums, renames) in ``store``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from runner.data.packing import pack_lengths

NOT_LEARNED, THINK, ANSWER = 0, 1, 2


@dataclass(frozen=True)
class Document:
    """One row as tokens: prompt (with what the tokenizer puts before it), thinking, rest and EOS joined.

    The lengths are of the first two parts.
    """

    question_id: str
    ids: NDArray[np.int64]
    prompt_length: int
    think_length: int


@dataclass(frozen=True)
class Pack:
    """One buffer of ``max_length`` tokens: whole documents, then padding as one more document.

    ``ids``, ``parts`` and ``positions`` are ``(max_length,)``.  ``parts`` names the token itself: 0 not learned
    (prompt, padding, and a document's first token, which nothing precedes), 1 thinking, 2 what follows
    ``</think>`` with EOS.  ``positions`` restart at 0 with each document.  ``lengths`` sum to ``max_length``.
    """

    ids: NDArray[np.int32]
    parts: NDArray[np.uint8]
    positions: NDArray[np.int32]
    lengths: tuple[int, ...]


def token_dtype(vocabulary: int) -> type[np.uint16] | type[np.uint32]:
    """The narrowest type that holds every id below ``vocabulary``."""
    return np.uint16 if vocabulary <= 2**16 else np.uint32


class SplitWriter:
    """Appends documents to the shard of one split in a fresh folder; ``close`` packs and indexes them."""

    def __init__(self, folder: Path, *, vocabulary: int, max_length: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._vocabulary = vocabulary
        self._max_length = max_length
        self._tokens: BinaryIO = (folder / "tokens.bin").open("wb")
        self._lengths: list[tuple[int, int, int]] = []
        self._ids: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._finish()
        self._tokens.close()

    def append(self, document: Document) -> None:
        ids = document.ids
        assert 0 < len(ids) <= self._max_length, f"document of {len(ids)} tokens, buffer of {self._max_length}"
        assert ids.min() >= 0, "the encoder gave a negative id"
        assert ids.max() < self._vocabulary, f"the encoder gave id {ids.max()}, its vocabulary is {self._vocabulary}"
        self._tokens.write(ids.astype(token_dtype(self._vocabulary)).tobytes())
        self._lengths.append((len(ids), document.prompt_length, document.think_length))
        self._ids.append(document.question_id)

    def _finish(self) -> None:
        lengths = np.array(self._lengths, dtype=np.int64).reshape(-1, 3)
        packing = pack_lengths(lengths[:, 0], self._max_length)
        np.save(self._folder / "offsets.npy", np.concatenate(([0], np.cumsum(lengths[:, 0]))).astype(np.int64))
        np.save(self._folder / "prompt_lengths.npy", lengths[:, 1].astype(np.int32))
        np.save(self._folder / "think_lengths.npy", lengths[:, 2].astype(np.int32))
        np.save(self._folder / "pack_offsets.npy", packing.offsets)
        np.save(self._folder / "pack_documents.npy", packing.documents)
        (self._folder / "question_ids.json").write_text(json.dumps(self._ids), encoding="utf-8")


class PackedSplit:
    """The documents of one split in buffers of ``max_length`` tokens, read from memory-mapped shards.

    ``documents``, ``tokens`` (without padding) and ``answer_tokens`` (the learned ones, of which ``think_tokens``
    are thinking) are counts; ``most_documents`` is how many a buffer has at most, its padding counted as one.
    """

    def __init__(self, folder: Path, *, vocabulary: int, max_length: int, pad_id: int) -> None:
        self.max_length = max_length
        self._arguments = (folder, vocabulary, max_length, pad_id)
        self._pad_id = pad_id
        size = (folder / "tokens.bin").stat().st_size
        dtype = token_dtype(vocabulary)
        self._tokens: NDArray[np.unsignedinteger[Any]] = (
            np.memmap(folder / "tokens.bin", dtype=dtype, mode="r") if size else np.empty(0, dtype=dtype)
        )
        self._offsets: NDArray[np.int64] = np.load(folder / "offsets.npy")
        self._prompt_lengths: NDArray[np.int32] = np.load(folder / "prompt_lengths.npy")
        self._think_lengths: NDArray[np.int32] = np.load(folder / "think_lengths.npy")
        self._pack_offsets: NDArray[np.int64] = np.load(folder / "pack_offsets.npy")
        self._pack_documents: NDArray[np.int64] = np.load(folder / "pack_documents.npy")
        self._question_ids: list[str] = json.loads((folder / "question_ids.json").read_text(encoding="utf-8"))
        self.documents = len(self._question_ids)
        self.tokens = int(self._offsets[-1])
        self.think_tokens = int(self._think_lengths.sum())
        self.most_documents = int(np.diff(self._pack_offsets).max(initial=0)) + 1
        self.answer_tokens = self.tokens - int(np.maximum(self._prompt_lengths, 1).sum())

    def __reduce__(self) -> tuple[object, ...]:
        folder, vocabulary, max_length, pad_id = self._arguments
        return _reopen, (folder, vocabulary, max_length, pad_id)

    def __len__(self) -> int:
        return len(self._pack_offsets) - 1

    @property
    def efficiency(self) -> float:
        """Part of the buffers that holds documents, not padding."""
        return self.tokens / (len(self) * self.max_length) if len(self) else 0.0

    def document(self, number: int) -> Document:
        """Document ``number`` in the order of writing."""
        ids = self._tokens[self._offsets[number] : self._offsets[number + 1]].astype(np.int64)
        return Document(
            self._question_ids[number], ids, int(self._prompt_lengths[number]), int(self._think_lengths[number])
        )

    def pack(self, index: int) -> Pack:
        """Buffer ``index``; IndexError outside ``0 <= index < len(self)``."""
        ids = np.full(self.max_length, self._pad_id, dtype=np.int32)
        parts = np.full(self.max_length, NOT_LEARNED, dtype=np.uint8)
        positions = np.empty(self.max_length, dtype=np.int32)
        lengths: list[int] = []
        at = 0
        for number in self.members(index):
            document = self.document(int(number))
            length = len(document.ids)
            learned_from, answer_from = document.prompt_length, document.prompt_length + document.think_length
            ids[at : at + length] = document.ids
            parts[at + learned_from : at + length] = THINK
            parts[at + answer_from : at + length] = ANSWER
            parts[at] = NOT_LEARNED
            positions[at : at + length] = np.arange(length)
            lengths.append(length)
            at += length
        if at < self.max_length:
            positions[at:] = np.arange(self.max_length - at)
            lengths.append(self.max_length - at)
        return Pack(ids, parts, positions, tuple(lengths))

    def document_ids(self, index: int) -> tuple[str, ...]:
        """Question ids of the documents in buffer ``index``, in their order there."""
        return tuple(self._question_ids[number] for number in self.members(index))

    @property
    def question_ids(self) -> tuple[str, ...]:
        """Question id of every document in the order of writing; a question with two rows stands twice."""
        return tuple(self._question_ids)

    def members(self, index: int) -> Sequence[int]:
        """Numbers of the documents in buffer ``index``, in their order there; IndexError as in ``pack``."""
        if not 0 <= index < len(self):
            raise IndexError(f"pack {index} of {len(self)}")
        members: list[int] = self._pack_documents[self._pack_offsets[index] : self._pack_offsets[index + 1]].tolist()
        return members


def _reopen(folder: Path, vocabulary: int, max_length: int, pad_id: int) -> PackedSplit:
    return PackedSplit(folder, vocabulary=vocabulary, max_length=max_length, pad_id=pad_id)

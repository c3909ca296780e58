"""Streamed text comes in whole characters, and all of it."""

from collections.abc import Sequence

from runner.evaluation.generation.answers import _pieces


class Bytes:
    """A tokenizer of single bytes."""

    bos_ids: tuple[int, ...] = ()
    eos_id, pad_id = 256, 257

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")


class Spaced(Bytes):
    """One that, as SentencePiece's do, leaves out the space before the first word."""

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).removeprefix(" ")


def pieces(encoder: Bytes, raw: bytes) -> list[str]:
    return list(_pieces(encoder, raw))


def test_a_character_of_several_tokens_comes_whole() -> None:
    text = "aé→🦆z"
    assert pieces(Bytes(), text.encode()) == list(text)


def test_bytes_that_are_no_text_hold_back_nothing_after_them() -> None:
    raw = b"a\xff\xc3b"
    assert "".join(pieces(Bytes(), raw)) == raw.decode(errors="replace")


def test_a_character_that_the_end_cuts_is_still_shown() -> None:
    assert pieces(Bytes(), "aé".encode()[:-1]) == ["a", "\ufffd"]


def test_spaces_between_words_are_kept() -> None:
    assert "".join(pieces(Spaced(), b" one two  three")) == "one two  three"

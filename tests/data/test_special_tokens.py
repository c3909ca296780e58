"""Special tokens inside data stay text, with a real byte-level BPE."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data_fakes import reasoning_row, write_jsonl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from runner.config.job import Data
from runner.data.prepare import prepare


class BytePairEncoder:
    """A BPE of 400 tokens with two special ones, which it never reads out of text."""

    bos_ids: tuple[int, ...] = ()
    eos_id, pad_id, vocabulary, fingerprint = 0, 1, 400, "bpe"

    def __init__(self) -> None:
        self._tokenizer = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<|endoftext|>", "<fim_pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        self._tokenizer.train_from_iterator([reasoning_row(number)["output"] for number in range(50)], trainer)
        self._tokenizer.encode_special_tokens = True

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def test_special_tokens_in_question_and_answer_are_text_and_only_our_eos_is_control(tmp_path: Path) -> None:
    rows = [
        reasoning_row(
            number,
            input=f"Print <|endoftext|> and <fim_pad> {number} times.",
            output=f"<think>\n<|endoftext|>\n</think>\n\n```python\nprint('<|endoftext|><fim_pad>' * {number})\n```",
        )
        for number in range(30)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    encoder = BytePairEncoder()
    data = Data(id=str(tmp_path / "rows.jsonl"), max_length=1024, validation_questions=5)
    prepared = prepare(data, encoder, cache=tmp_path / "cache")
    for number in range(prepared.train.documents):
        ids = prepared.train.document(number).ids
        assert np.flatnonzero(ids == encoder.eos_id).tolist() == [len(ids) - 1]
        assert not (ids == encoder.pad_id).any()
        text = encoder.decode(ids.tolist())
        assert text.count("<|endoftext|>") == 3 + 1
        assert text.count("<fim_pad>") == 2

"""Documents written to shards come back as packed buffers."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from runner.data.shards import Document, PackedSplit, SplitWriter, token_dtype

LENGTHS = ((6, 2, 2), (9, 4, 0), (3, 0, 0), (10, 5, 4))  # tokens, of the prompt, of the thinking


def documents(vocabulary: int) -> list[Document]:
    draw = np.random.default_rng(1)
    return [
        Document(f"q{number}", draw.integers(5, vocabulary, size), prompt, think)
        for number, (size, prompt, think) in enumerate(LENGTHS)
    ]


def written(folder: Path, vocabulary: int = 300) -> PackedSplit:
    with SplitWriter(folder, vocabulary=vocabulary, max_length=10) as writer:
        for document in documents(vocabulary):
            writer.append(document)
    return PackedSplit(folder, vocabulary=vocabulary, max_length=10, pad_id=4)


@pytest.mark.parametrize(("vocabulary", "width"), [(300, 2), (65536, 2), (65537, 4), (152000, 4)])
def test_every_id_comes_back_and_two_bytes_serve_while_the_vocabulary_allows(
    tmp_path: Path, vocabulary: int, width: int
) -> None:
    split = written(tmp_path / "train", vocabulary)
    assert np.dtype(token_dtype(vocabulary)).itemsize == width
    assert (tmp_path / "train" / "tokens.bin").stat().st_size == 28 * width
    for number, document in enumerate(documents(vocabulary)):
        assert split.document(number).ids.tolist() == document.ids.tolist()


def test_a_pack_holds_whole_documents_then_padding_as_one_more(tmp_path: Path) -> None:
    split = written(tmp_path / "train")
    assert [split.document_ids(index) for index in range(len(split))] == [("q3",), ("q1",), ("q0", "q2")]
    pack = split.pack(2)
    first, second = documents(300)[0], documents(300)[2]
    assert pack.ids.tolist() == [*first.ids.tolist(), *second.ids.tolist(), 4]
    assert pack.lengths == (6, 3, 1)
    assert pack.positions.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 0]
    assert pack.parts.tolist() == [0, 0, 1, 1, 2, 2, 0, 2, 2, 0]
    assert [str(array.dtype) for array in (pack.ids, pack.parts, pack.positions)] == ["int32", "uint8", "int32"]


def test_lengths_sum_to_the_buffer_and_counts_agree_with_the_packs(tmp_path: Path) -> None:
    split = written(tmp_path / "train")
    packs = [split.pack(index) for index in range(len(split))]
    assert all(sum(pack.lengths) == 10 for pack in packs)
    assert split.answer_tokens == sum(int((pack.parts > 0).sum()) for pack in packs) == 16
    assert split.think_tokens == sum(int((pack.parts == 1).sum()) for pack in packs) == 6
    assert (split.documents, split.tokens, split.efficiency) == (4, 28, 28 / 30)


def test_a_split_survives_pickling_and_refuses_packs_it_has_not(tmp_path: Path) -> None:
    split = pickle.loads(pickle.dumps(written(tmp_path / "train")))
    assert split.pack(0).ids.tolist() == documents(300)[3].ids.tolist()
    for index in (-1, 3):
        with pytest.raises(IndexError, match="of 3"):
            split.pack(index)


def test_an_encoder_that_breaks_its_vocabulary_is_found_out(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="gave id 300, its vocabulary is 300"),
        SplitWriter(tmp_path / "train", vocabulary=300, max_length=10) as writer,
    ):
        writer.append(Document("q", np.array([7, 300]), 1, 0))

"""The embedded base's tokenizer: the committed one is what the code makes, and it loses nothing."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import runner.model
from runner.data.questions import rows
from runner.data.questions.tokenizer import SPECIAL, VOCABULARY, make_tokenizer
from runner.data.template import prompt_text

COMMITTED = Path(runner.model.__file__).parent / "tiny" / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(COMMITTED))


def test_the_committed_tokenizer_is_the_one_that_the_code_makes(tokenizer: Tokenizer) -> None:
    assert make_tokenizer().to_str() == tokenizer.to_str()


def test_special_tokens_have_starcoder2s_places(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL] == list(range(len(SPECIAL)))
    assert tokenizer.token_to_id("<|endoftext|>") == 0
    assert tokenizer.token_to_id("<fim_pad>") == 4
    assert tokenizer.get_vocab_size() == VOCABULARY


def test_every_digit_is_a_token_of_its_own(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("n = 20483").tokens[-5:] == ["Ġ2", "0", "4", "8", "3"]


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_comes_back_whole(text: str) -> None:
    plain = Tokenizer.from_file(str(COMMITTED))
    plain.encode_special_tokens = True
    assert plain.decode(plain.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_a_prompt_costs_two_tokens_beside_its_question(tokenizer: Tokenizer) -> None:
    question = next(iter(rows("train", 1, 0)))["input"]
    whole, alone = (len(tokenizer.encode(text).ids) for text in (prompt_text(question), question))
    assert whole == alone + 2


def test_transformers_loads_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(COMMITTED.parent)
    text = next(iter(rows("train", 1, 0)))["output"]
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
    assert loaded.eos_token_id == loaded.bos_token_id == 0

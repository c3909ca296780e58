"""Tokenizers as models bring them: which are refused, and which token pads."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from runner.config.job import Model
from runner.errors import UserError
from runner.model.base import check_vocabulary, load_config
from runner.model.source import EMBEDDED
from runner.model.tokenizer import load_encoder

TINY = EMBEDDED["builtin:tiny-starcoder2"]
EOS, FIM_PAD = 0, 4


def edited(folder: Path, file: str, **changes: Any) -> Model:
    """A copy of the embedded model in ``folder`` with other keys in one of its files; None takes a key out."""
    shutil.copytree(TINY, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    values = {**json.loads((folder / file).read_text()), **changes}
    (folder / file).write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return Model(id=str(folder))


def test_a_tokenizer_without_an_end_of_sequence_is_refused(tmp_path: Path) -> None:
    model = edited(tmp_path, "tokenizer_config.json", eos_token=None)
    with pytest.raises(UserError) as raised:
        load_encoder(model)
    assert str(raised.value) == (
        f"its tokenizer has no end-of-sequence token; model.id {tmp_path}; set eos_token in tokenizer_config.json"
    )


def test_a_tokenizer_without_a_fast_implementation_is_refused(tmp_path: Path) -> None:
    model = edited(tmp_path, "tokenizer_config.json", tokenizer_class="ByT5Tokenizer")
    with pytest.raises(UserError) as raised:
        load_encoder(model)
    assert str(raised.value) == (
        f"its tokenizer has no fast implementation; model.id {tmp_path}; use a model that ships tokenizer.json"
    )


@pytest.mark.parametrize(
    ("pad_token", "fim_pad", "padding"),
    [
        ("<fim_suffix>", "<fim_pad>", 3),
        (None, "<fim_pad>", FIM_PAD),
        ("<|endoftext|>", "<fim_pad>", FIM_PAD),  # it ends a document, so something else pads
        (None, "<another>", EOS),
        ("<|endoftext|>", "<another>", EOS),
    ],
)
def test_padding_is_its_own_token_where_there_is_one(
    tmp_path: Path, pad_token: str | None, fim_pad: str, padding: int
) -> None:
    model = edited(tmp_path, "tokenizer_config.json", pad_token=pad_token)
    tokens = tmp_path / "tokenizer.json"
    tokens.write_text(tokens.read_text().replace("<fim_pad>", fim_pad))
    encoder = load_encoder(model)
    assert (encoder.eos_id, encoder.pad_id) == (EOS, padding)
    assert len(encoder.encode(["<fim_pad>"])[0]) > 1  # in a text it is text


def with_bos(folder: Path, *tokens: str) -> Model:
    """A copy of the embedded model whose tokenizer puts ``tokens`` before a text and ``<fim_suffix>`` behind it."""
    model = edited(folder, "tokenizer_config.json")
    file = folder / "tokenizer.json"
    values = json.loads(file.read_text())
    ids = {token["content"]: token["id"] for token in values["added_tokens"]}
    special = [{"SpecialToken": {"id": token, "type_id": 0}} for token in (*tokens, "<fim_suffix>")]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*special[:-1], text, special[-1]],
        "pair": [*special[:-1], text, {"Sequence": {"id": "B", "type_id": 1}}, special[-1]],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (*tokens, "<fim_suffix>")
        },
    }
    file.write_text(json.dumps(values))
    return model


@pytest.mark.parametrize("tokens", [("<fim_prefix>",), ("<fim_middle>", "<fim_prefix>"), ()])
def test_what_a_tokenizer_puts_before_a_text_is_what_transformers_puts_there(
    tmp_path: Path, tokens: tuple[str, ...]
) -> None:
    encoder = load_encoder(with_bos(tmp_path, *tokens))
    backend = encoder.tokenizer.backend_tokenizer
    assert encoder.bos_ids == tuple(backend.token_to_id(token) for token in tokens)
    for text in ("x = 1", "<fim_prefix>", ""):
        (ids,) = encoder.encode([text])
        assert encoder.tokenizer(text).input_ids == [*encoder.bos_ids, *ids, backend.token_to_id("<fim_suffix>")]
    assert pickle.loads(pickle.dumps(encoder)).bos_ids == encoder.bos_ids


def test_data_are_made_again_only_where_something_comes_first(tmp_path: Path) -> None:
    for number, tokens in enumerate([("<fim_prefix>",), ()]):
        encoder = load_encoder(with_bos(tmp_path / str(number), *tokens))
        backend = encoder.tokenizer.backend_tokenizer.to_str()
        before = hashlib.sha256(f"{backend}|{encoder.eos_id}|{encoder.pad_id}".encode()).hexdigest()[:16]
        assert (encoder.fingerprint == before) == (not tokens)


def test_before_a_document_of_the_embedded_model_stands_nothing() -> None:
    encoder = load_encoder(Model())
    assert encoder.bos_ids == ()


@pytest.mark.parametrize("rows", [1279, 1280, 1281])
def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows_is_refused(tmp_path: Path, rows: int) -> None:
    model = edited(tmp_path, "config.json", vocab_size=rows)
    config, tokens = load_config(model), load_encoder(model).vocabulary
    if rows >= tokens:
        check_vocabulary(config, tokens, model.id)
        return
    with pytest.raises(UserError) as raised:
        check_vocabulary(config, tokens, model.id)
    assert str(raised.value) == (
        f"its tokenizer has 1,280 tokens and its embedding 1,279 rows; model.id {tmp_path}; "
        "use the tokenizer that belongs to the model"
    )

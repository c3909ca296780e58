"""A model and its data at hand before a job starts: what is loaded for it, and how often."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from finished_run import small_job
from runner.cli import ready
from runner.errors import UserError
from runner.model import tokenizer
from runner.model.source import EMBEDDED


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model in a folder."""
    return Path(shutil.copytree(EMBEDDED["builtin:tiny-starcoder2"], tmp_path / "base"))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The models whose tokenizers are loaded, each time."""
    from transformers import AutoTokenizer

    names: list[str] = []
    load = AutoTokenizer.from_pretrained

    def noted(name: str, **options: Any) -> Any:
        names.append(name)
        return load(name, **options)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", noted)
    monkeypatch.setattr(ready, "CACHE", tmp_path / "cache")
    return names


def test_the_tokenizer_of_a_model_that_is_checked_is_loaded_once(base: Path, loaded: list[str]) -> None:
    encoder, data = ready.data_to_train_on(small_job(model__id=str(base)))
    assert loaded == [str(base)]
    assert isinstance(encoder, tokenizer.Encoder)
    assert len(data.train) > 0


def test_that_of_the_embedded_model_too(loaded: list[str]) -> None:
    ready.data_to_train_on(small_job())
    assert len(loaded) == 1


def test_a_tokenizer_with_more_tokens_than_the_model_is_still_refused(base: Path, loaded: list[str]) -> None:
    config = base / "config.json"
    config.write_text(config.read_text().replace('"vocab_size": ', '"vocab_size": 100, "was": '))
    with pytest.raises(UserError, match="and its embedding 100 rows"):
        ready.data_to_train_on(small_job(model__id=str(base)))
    assert loaded == [str(base)]

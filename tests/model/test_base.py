"""What a model brings beside its weights: code and pickles, neither of which is ever run."""

import io
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from runner.config.job import Job, Model
from runner.errors import UserError
from runner.model.base import load_base, load_config
from runner.model.merge import Recipe, merged_bytes
from runner.model.source import EMBEDDED, weight_files
from runner.model.tokenizer import load_encoder
from runner.plan import read_geometry

CPU = torch.device("cpu")
TINY = EMBEDDED["builtin:tiny-starcoder2"]
OWN = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
OWN_TOKENIZER = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that code of a model would make; standard input agrees to everything."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "ran"


def folder_with_code(
    tmp_path: Path, marker: Path, config: Mapping[str, object], tokenizer: Mapping[str, object]
) -> Path:
    """The embedded model under another configuration, with a module that makes ``marker`` when it is imported."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).symlink_to(TINY / name)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    return folder


def geometry(model: Model) -> object:
    return read_geometry(Job(model=model))


def pretrained(model: Model) -> object:
    return load_base(model, CPU, residency="dequantized", seed=0)


def untrained(model: Model) -> object:
    return pretrained(model.model_copy(update={"weights": "random"}))


def merged(model: Model) -> object:
    return merged_bytes(Recipe(model, Path(model.id), False, torch.float32, CPU))


@pytest.mark.parametrize("load", [load_config, geometry, pretrained, untrained, merged])
@pytest.mark.parametrize("model_type", ["own", "albert"])  # the second is known, but as no causal language model
def test_code_of_a_model_is_never_run(
    tmp_path: Path, marker: Path, load: Callable[[Model], object], model_type: str
) -> None:
    folder = folder_with_code(tmp_path, marker, {"model_type": model_type, "auto_map": OWN}, {})
    if (load, model_type) == (load_config, "albert"):
        load(Model(id=str(folder)))
    else:
        with pytest.raises(UserError) as raised:
            load(Model(id=str(folder)))
        assert str(raised.value).endswith(
            "it needs Python code of its own, which is never run; "
            f"model.id {folder}; take a model that transformers knows"
        )
    assert not marker.exists()


def test_code_of_a_tokenizer_is_never_run(tmp_path: Path, marker: Path) -> None:
    folder = folder_with_code(tmp_path, marker, {"model_type": "own", "auto_map": OWN}, OWN_TOKENIZER)
    with pytest.raises(UserError, match="no tokenizer could be loaded: it needs Python code of its own") as raised:
        load_encoder(Model(id=str(folder)))
    assert len(str(raised.value).splitlines()) == 1
    assert not marker.exists()


def test_code_beside_a_model_that_is_known_is_passed_over(tmp_path: Path, marker: Path) -> None:
    config = json.loads((TINY / "config.json").read_text())
    folder = folder_with_code(tmp_path, marker, {**config, "auto_map": OWN}, {"eos_token": "<|endoftext|>"})
    base = pretrained(Model(id=str(folder), quantization="none"))
    assert type(base).__name__ == "Starcoder2ForCausalLM"
    assert not marker.exists()


class Opened:
    """Makes ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize(
    ("index", "told"),
    [
        (None, "no safetensors weights were found"),
        ('{"weight_map": {"lm_head": "pytorch_model.bin"}}', "names pytorch_model.bin"),
        ('{"weight_map": {"lm_head": "model-1.safetensors"}}', "names model-1.safetensors, which is missing"),
        ('{"weight_map": {"lm_he', "cannot be read"),
    ],
)
def test_pickled_weights_are_never_read(tmp_path: Path, index: str | None, told: str) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "config.json").write_text((TINY / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head": Opened(marker)}))
    if index is not None:
        (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=told) as raised:
        load_base(Model(id=str(tmp_path)), CPU, residency="dequantized", seed=0)
    assert str(tmp_path) in str(raised.value)
    assert not marker.exists()
    pickle.loads((tmp_path / "pytorch_model.bin").read_bytes())
    assert marker.exists()  # so the test can fail


def test_the_files_that_hold_the_weights_are_those_that_transformers_loads(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors", "other.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}'
    )
    assert weight_files(tmp_path) == [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]

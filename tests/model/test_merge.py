"""An adapter folded into its base: the same logits, the same files as any model, readable by plain transformers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from conftest import tiny_llama, tiny_starcoder2
from fake_hub import COMMIT, ModelHub
from runner.config.job import Lora, Model
from runner.errors import UserError
from runner.model.adapter import add_adapter, save_adapter
from runner.model.base import load_base
from runner.model.merge import Recipe, fill, merged_bytes, write_merged
from runner.model.source import INDEX_FILE
from runner.train.weights import FlatWeights

CPU = torch.device("cpu")
IDS = torch.arange(20)[None] + 5
BFLOAT16_ERROR = 2.0**-8  # of a weight, at most: eight bits of significand, rounded to the nearest


def saved_base(folder: Path, architecture: str) -> Model:
    """A random model on disk, its dropouts not zero, its embedding also the head in StarCoder2 alone."""
    if architecture == "starcoder2":
        base = tiny_starcoder2(residual_dropout=0.1, embedding_dropout=0.2, tie_word_embeddings=True)
    else:
        base = tiny_llama()
    model: Any = base
    model.save_pretrained(folder)
    shutil.copyfile("src/runner/model/tiny/tokenizer.json", folder / "tokenizer.json")
    return Model(id=str(folder), quantization="none")


def saved_adapter(base: Model, folder: Path, *, rounded: bool) -> nn.Module:
    """An adapter with weights that change the logits, saved into ``folder``; the model that it was saved from."""
    form = base.model_copy(update={"quantization": "nf4" if rounded else "none"})
    loaded = load_base(form, CPU, residency="dequantized", seed=0)
    model = add_adapter(loaded, Lora(rank=4, alpha=8), dtype=torch.float32, seed=0)
    weights = FlatWeights(model)
    weights.master.add_(torch.randn(weights.master.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    weights.publish()
    folder.mkdir()
    save_adapter(model, dict(weights.named()), folder, base_id=base.id)
    return model.eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(input_ids=IDS).logits
    return result.float()


def written(recipe: Recipe, folder: Path, **options: Any) -> Any:
    """The merged model, written and loaded by transformers alone, in the type it was written in."""
    folder.mkdir()
    write_merged(recipe, folder, **options)
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


@pytest.mark.parametrize("architecture", ["starcoder2", "llama"])
@pytest.mark.parametrize("rounded", [True, False])
def test_merged_logits_are_those_of_base_and_adapter(architecture: str, rounded: bool, tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", architecture)
    unmerged = saved_adapter(base, tmp_path / "adapter", rounded=rounded)
    recipe = Recipe(base, tmp_path / "adapter", rounded, torch.float32, CPU)
    merged = written(recipe, tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(unmerged), atol=2e-5, rtol=1e-5)
    with unmerged.disable_adapter():  # type: ignore[operator]  # PEFT's own context manager
        assert (logits(unmerged) - logits(merged)).abs().max() > 0.1


def test_the_merged_weights_are_pefts_own_rounded_once(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "llama")
    saved_adapter(base, tmp_path / "adapter", rounded=False)
    peft: Any = PeftModel.from_pretrained(tiny_llama(), tmp_path / "adapter")
    theirs = peft.merge_and_unload().state_dict()
    exact = written(Recipe(base, tmp_path / "adapter", False, torch.float32, CPU), tmp_path / "exact").state_dict()
    assert exact.keys() == theirs.keys()
    rounded = written(Recipe(base, tmp_path / "adapter", False, torch.bfloat16, CPU), tmp_path / "rounded").state_dict()
    for name, tensor in theirs.items():
        torch.testing.assert_close(exact[name], tensor, atol=1e-6, rtol=1e-6)
        assert rounded[name].dtype == torch.bfloat16
        assert torch.equal(rounded[name], exact[name].bfloat16())
        assert ((rounded[name].float() - exact[name]).abs() <= BFLOAT16_ERROR * exact[name].abs()).all()


def test_the_base_itself_is_read_and_never_rounded_for_the_16_bit_form(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "llama")
    saved_adapter(base, tmp_path / "adapter", rounded=True)
    before = load_file(tmp_path / "base" / "model.safetensors")
    plain = written(Recipe(base, tmp_path / "adapter", False, torch.float32, CPU), tmp_path / "plain").state_dict()
    nf4 = written(Recipe(base, tmp_path / "adapter", True, torch.float32, CPU), tmp_path / "nf4").state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    rank = torch.linalg.matrix_rank(plain[name] - before[name], atol=1e-4)
    assert rank == 4  # the update alone
    assert torch.linalg.matrix_rank(nf4[name] - before[name], atol=1e-4) > 4
    assert torch.equal(nf4["model.embed_tokens.weight"], before["model.embed_tokens.weight"])


def test_a_head_that_is_the_embedding_stays_it(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "starcoder2")
    stored = load_file(tmp_path / "base" / "model.safetensors")
    twice = {**stored, "lm_head.weight": stored["model.embed_tokens.weight"].clone()}
    save_file(twice, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    saved_adapter(base, tmp_path / "adapter", rounded=False)
    merged = written(Recipe(base, tmp_path / "adapter", False, torch.bfloat16, CPU), tmp_path / "merged")
    assert "lm_head.weight" not in load_file(tmp_path / "merged" / "model.safetensors")
    assert merged.lm_head.weight is merged.model.embed_tokens.weight


def test_the_files_are_those_of_any_model_and_dropouts_are_the_bases_own(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "starcoder2")
    saved_adapter(base, tmp_path / "adapter", rounded=True)
    recipe = Recipe(base, tmp_path / "adapter", True, torch.bfloat16, CPU)
    written(recipe, tmp_path / "merged")
    found = {path.name for path in (tmp_path / "merged").iterdir()}
    assert found == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert (config["residual_dropout"], config["embedding_dropout"], config["attention_dropout"]) == (0.1, 0.2, 0.0)
    assert (tmp_path / "merged" / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert config["torch_dtype"] == "bfloat16"
    assert config["architectures"] == ["Starcoder2ForCausalLM"]
    assert config["use_cache"] is True
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    assert sum(tensor.numel() * 2 for tensor in weights.values()) == merged_bytes(recipe)


def test_several_files_with_an_index_hold_the_same_model(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "llama")
    saved_adapter(base, tmp_path / "adapter", rounded=False)
    recipe = Recipe(base, tmp_path / "adapter", False, torch.bfloat16, CPU)
    one = written(recipe, tmp_path / "one")
    many = written(recipe, tmp_path / "many", shard_bytes=40_000)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 2
    assert all(file.stat().st_size < 45_000 for file in files)
    index = json.loads((tmp_path / "many" / INDEX_FILE).read_text())
    assert {tmp_path / "many" / file for file in index["weight_map"].values()} == set(files)
    assert index["metadata"]["total_size"] == merged_bytes(recipe)
    assert torch.equal(logits(one), logits(many))
    again = Recipe(Model(id=str(tmp_path / "many")), tmp_path / "adapter", False, torch.bfloat16, CPU)
    assert merged_bytes(again) == merged_bytes(recipe)


def test_a_filled_model_computes_as_the_written_one(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "starcoder2")
    saved_adapter(base, tmp_path / "adapter", rounded=True)
    recipe = Recipe(base, tmp_path / "adapter", True, torch.bfloat16, CPU)
    filled = load_base(base, CPU, residency="dequantized", seed=0).eval()
    fill(filled, recipe)
    torch.testing.assert_close(logits(filled), logits(written(recipe, tmp_path / "merged").float()))


def test_a_base_with_random_weights_is_drawn_again(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "llama").model_copy(update={"weights": "random"})
    unmerged = saved_adapter(base, tmp_path / "adapter", rounded=True)
    merged = written(Recipe(base, tmp_path / "adapter", True, torch.float32, CPU, seed=0), tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(unmerged), atol=2e-5, rtol=1e-5)


HUB = """
import sys
from runner.config.job import Model
from runner.errors import UserError
from runner.model.merge import base_folder
for name in sys.argv[2:]:
    try:
        folder = base_folder(Model(id=f"some/{name}", revision=sys.argv[1]), weights=False)
        print(*sorted(path.name for path in folder.iterdir()))
    except UserError as error:
        print(error)
"""


def test_the_small_files_of_a_base_come_from_the_hub_and_then_from_its_cache(tmp_path: Path) -> None:
    shutil.copytree("src/runner/model/tiny", tmp_path / "models" / "tiny")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "cache")}

    def ask(**settings: str) -> list[str]:
        command = [sys.executable, "-c", HUB, COMMIT, "tiny", "missing"]
        done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    with ModelHub(tmp_path / "models").serving() as hub:
        found, refused = ask(HF_ENDPOINT=hub.url)
    assert found.split() == ["README.md", "config.json", "tokenizer.json", "tokenizer_config.json"]
    assert "the base's files are not in the cache" in refused
    assert f"revision {COMMIT}" in refused
    assert ask(HF_HUB_OFFLINE="1")[0] == found


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", "llama")
    saved_adapter(base, tmp_path / "adapter", rounded=False)
    adapter = tmp_path / "adapter" / "adapter_model.safetensors"
    stored = load_file(adapter)
    key = "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"
    save_file({**stored, key: stored[key][:-1].clone()}, adapter)
    (tmp_path / "merged").mkdir()
    with pytest.raises(UserError, match=r"up_proj\.weight is \(128, 64\) in the base and \(127, 64\)"):
        write_merged(Recipe(base, tmp_path / "adapter", False, torch.float32, CPU), tmp_path / "merged")
    save_file({**stored, key: stored[key] * 1e6}, adapter)
    with pytest.raises(UserError, match="holds values that float16 cannot"):
        write_merged(Recipe(base, tmp_path / "adapter", False, torch.float16, CPU), tmp_path / "merged")
    save_file({name.replace("layers.0", "layers.7"): tensor for name, tensor in stored.items()}, adapter)
    with pytest.raises(UserError, match=r"hold no model\.layers\.7"):
        merged_bytes(Recipe(base, tmp_path / "adapter", False, torch.float32, CPU))

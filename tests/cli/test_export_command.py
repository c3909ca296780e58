"""`runner export`: the table of forms, the folders written, what to type next, and what is never overwritten."""

import shlex
from pathlib import Path

import pytest
import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer

import runner.cli.export
from runner.cli.export import export
from runner.errors import UserError
from runner.runs import RunFolder
from typed import output_of

app = typer.Typer()
app.command()(export)


@pytest.fixture(autouse=True)
def _cached(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(runner.cli.export, "CACHE", cache)


def run(folder: RunFolder, *words: str) -> str:
    return output_of(app, [folder.name, "--storage", str(folder.root.parent), *words])


def test_without_a_form_all_are_measured_and_the_adapter_is_written(small_run: RunFolder, tmp_path: Path) -> None:
    out = run(small_run, "--to", str(tmp_path / "adapter"))
    lines = out.splitlines()
    assert lines[0].split() == ["form", "validation", "loss", "MB", "to", "as", "trained"]
    assert [line.split()[0] for line in lines[1:4]] == ["adapter", "merged-nf4", "merged-16bit"]
    first, second = (float(line.split()[1]) for line in lines[1:3])
    assert float(lines[2].split()[3]) == pytest.approx(second - first, abs=1.5e-4)
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert f"| merged-nf4 | {second:.4f} |" in card
    assert "library_name: peft" in card
    assert f"runner export small --storage {small_run.root.parent} --form adapter --to {tmp_path / 'adapter'}" in card
    for form in ("merged-nf4", "merged-16bit", "gguf"):
        assert f"runner export small --storage {small_run.root.parent} --form {form}" in out


def test_a_merged_model_is_written_into_the_run_and_loaded_by_transformers(small_run: RunFolder) -> None:
    out = run(small_run, "--form", "merged-16bit", "--no-measure", "--weights", "best")
    target = small_run.root / "export" / "merged-16bit"
    assert f"merged-16bit: {target}" in out
    assert "validation loss" not in out
    assert "--dtype float32 rounds nothing" in out
    model = AutoModelForCausalLM.from_pretrained(target, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(target).eos_token == "<|endoftext|>"
    assert "the best weights" in (target / "README.md").read_text()


def test_the_hand_off_says_what_to_type_and_uses_the_model_that_is_there(small_run: RunFolder, tmp_path: Path) -> None:
    target = tmp_path / "my model"
    out = run(small_run, "--form", "gguf", "--no-measure", "--dtype", "float16", "--to", str(target))
    line = next(line for line in out.splitlines() if "convert_hf_to_gguf.py" in line)
    words = shlex.split(line)
    assert words[:3] == ["python", "convert_hf_to_gguf.py", str(target)]
    assert words[3:] == ["--outfile", str(tmp_path / "small.gguf"), "--outtype", "f16"]
    assert "it will refuse this one" in out  # the embedded base's own tokenizer
    written = (target / "model.safetensors").stat().st_mtime_ns
    again = run(small_run, "--form", "gguf", "--no-measure", "--dtype", "float16", "--to", str(target))
    assert "is there from an export before" in again
    assert (target / "model.safetensors").stat().st_mtime_ns == written


def test_a_folder_that_is_not_empty_is_never_overwritten(small_run: RunFolder, tmp_path: Path) -> None:
    words = ("--form", "adapter", "--no-measure", "--to")
    run(small_run, *words, str(tmp_path / "mine"))
    with pytest.raises(UserError, match=r"exists and is not empty.*--force to replace it"):
        run(small_run, *words, str(tmp_path / "mine"))
    (tmp_path / "mine" / "README.md").unlink()
    with pytest.raises(UserError, match="--force replaces earlier exports only"):
        run(small_run, *words, str(tmp_path / "mine"), "--force")  # something was changed there
    for kept in (small_run.root, small_run.final, tmp_path):
        with pytest.raises(UserError, match="--force replaces earlier exports only"):
            run(small_run, *words, str(kept), "--force")
    run(small_run, *words, str(tmp_path / "other"))
    before = (tmp_path / "other" / "README.md").stat().st_ino
    run(small_run, *words, str(tmp_path / "other"), "--force")
    assert (tmp_path / "other" / "README.md").stat().st_ino != before
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "other"}
    (tmp_path / "empty").mkdir()
    run(small_run, *words, str(tmp_path / "empty"))
    assert (tmp_path / "empty" / "adapter_model.safetensors").is_file()


def test_data_that_is_out_of_reach_names_the_way_without_it(
    small_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise UserError("the data are away", "there", "connect")

    monkeypatch.setattr("runner.data.prepare", away)
    with pytest.raises(UserError, match="connect; or leave out the losses with --no-measure"):
        run(small_run, "--to", str(tmp_path / "adapter"))
    assert not (tmp_path / "adapter").exists()

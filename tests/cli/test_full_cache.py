"""Commands where the disk of the Hugging Face cache is full: told as that, not as the fault of the hub."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from disks import fill
from fake_hub import Answer, ModelHub
from runner.model.source import EMBEDDED
from small_caches import disk_of, run, the_line

SIZE = 4 << 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelHub]:
    root = tmp_path_factory.mktemp("models")
    (root / "large").mkdir()
    weights = np.random.default_rng(1).bytes(SIZE)
    files = {"model.safetensors": weights, "config.json": b"{}", "tokenizer.json": b"{}"}
    for name, content in files.items():
        (root / "large" / name).write_bytes(content)
    with ModelHub(root).serving() as hub:
        yield hub


def test_a_model_larger_than_the_disk_is_not_begun(models: ModelHub, tmp_path: Path) -> None:
    with disk_of(tmp_path, 2) as disk:
        models.asked.clear()
        line = the_line(run(models.url, disk, tmp_path, "fetch", "-o", "model.id=some/large"))
        assert "the disk is too small for the model some/large: need 4.0 MiB, have 2.0 MiB" in line
        assert f"the cache {disk}/hf/hub" in line
        assert not [path for path in models.asked if "resolve" in path]


class Filling(ModelHub):
    """When the file ``at`` is asked for, another program takes what is left of ``disk``."""

    at, disk = "", Path()

    def answer(self, path: str) -> Answer | None:
        if self.at and path.endswith(self.at) and self.asked[-1].startswith("GET"):
            fill(self.disk)
        return super().answer(path)


@pytest.fixture(scope="module")
def filling(models: ModelHub) -> Iterator[Filling]:
    shutil.copytree(EMBEDDED["builtin:tiny-starcoder2"], models.root / "tiny")
    with Filling(models.root).serving() as hub:
        yield hub


def test_a_disk_that_fills_while_a_model_comes_is_told_with_need_and_have(filling: Filling, tmp_path: Path) -> None:
    with disk_of(tmp_path, 12) as disk:
        filling.at, filling.disk = "model.safetensors", disk
        line = the_line(run(filling.url, disk, tmp_path, "fetch", "-o", "model.id=some/large"))
        found = re.search(
            r"the disk is full \(No space left on device\) while the model some/large was brought: "
            r"need (\d\.\d) MiB, have 0\.0 MiB",
            line,
        )
        assert found, line
        assert 0.0 < float(found[1]) <= 4.0
        assert f"the cache {disk}/hf/hub" in line
        filling.at = ""
        (disk / "of-another-program").unlink()
        assert run(filling.url, disk, tmp_path, "fetch", "-o", "model.id=some/large").returncode == 0
        (brought,) = disk.rglob("snapshots/*/model.safetensors")
        assert brought.read_bytes() == (filling.root / "large" / "model.safetensors").read_bytes()
        fill(disk)
        again = run(filling.url, disk, tmp_path, "fetch", "-o", "model.id=some/large")
        assert again.returncode == 0, again.stderr  # all of it is there: nothing needs room


@pytest.mark.parametrize("at", ["config.json", "tokenizer.json"])
def test_a_disk_that_fills_while_a_command_brings_what_it_needs_is_told(
    at: str, filling: Filling, tmp_path: Path
) -> None:
    with disk_of(tmp_path, 8) as disk:
        filling.at, filling.disk = at, disk
        line = the_line(run(filling.url, disk, tmp_path, "data", "-o", "model.id=some/tiny"))
    assert "the disk is full (No space left on device) while the model some/tiny was brought" in line
    assert "need more, have 0.0 MiB" in line
    assert "HF_HOME" in line


LOAD = """
import sys, torch
from runner.config.job import Model
from runner.errors import DoesNotFit
from runner.model.base import load_base
try:
    load_base(Model(id="some/tiny", quantization="none"), torch.device("cpu"), residency="dequantized", seed=1)
except DoesNotFit as error:
    print(error)
"""


def test_a_disk_that_fills_while_a_worker_loads_the_weights_is_told(filling: Filling, tmp_path: Path) -> None:
    with disk_of(tmp_path, 12) as disk:
        filling.at, filling.disk = "model.safetensors", disk
        environment = {**os.environ, "HF_ENDPOINT": filling.url, "HF_HOME": str(disk / "hf"), "HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
    assert "the disk is full (No space left on device) while the model some/tiny was brought" in done.stdout

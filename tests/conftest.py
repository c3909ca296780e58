"""What many tests share: one thread, tiny models, packed buffers of known documents, runs that have ended."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from bucket_server import Gate, access, bucket, s3_server
from runner.data.shards import Pack
from runner.runs import RunFolder

if TYPE_CHECKING:
    from transformers import Starcoder2Config

torch.set_num_threads(1)
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # no test starts a Ray by accident, or waits for one that is gone


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Where all tests are asked for, two processes share them out file by file; ``-n 0`` takes one.

    Many tests wait for a process that starts or for a time that passes.  On a GPU one process has it alone.
    """
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.usepdb
    undecided = getattr(config.option, "numprocesses", 0) is None and not hasattr(config, "workerinput")
    if everything and undecided and not torch.cuda.is_available():
        os.environ["OMP_NUM_THREADS"] = "1"
        config.option.numprocesses, config.option.dist = 2, "loadfile"
        config.option.loadscopereorder = False  # in the order that is made below


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that processes that share them out end together.

    GPU tests skip themselves where there is no GPU, long ones and injected faults where they are not asked for.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    without = {} if torch.cuda.is_available() else {"gpu": "no CUDA device"}
    for mark in ("long", "chaos"):
        if mark not in config.getoption("markexpr"):
            without[mark] = f"takes minutes: pytest -m {mark}"
    for item in items:
        for mark, reason in without.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with nothing in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where prepared data lie for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small_trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunFolder:
    """``small_job``, trained once; ``small_run`` is what tests may write into."""
    from finished_run import finished_run, small_job

    return finished_run(small_job(), tmp_path_factory.mktemp("runs"), cache)


@pytest.fixture(scope="session")
def full_trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> RunFolder:
    """``full_job``, trained once; ``full_run`` is what tests may write into."""
    from finished_run import finished_run, full_job

    return finished_run(full_job(), tmp_path_factory.mktemp("runs"), cache)


@pytest.fixture(scope="module")
def small_run(small_trained: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of ``small_job``, this file's own copy."""
    return _copied(small_trained, tmp_path_factory)


@pytest.fixture(scope="module")
def full_run(full_trained: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of ``full_job``, this file's own copy."""
    return _copied(full_trained, tmp_path_factory)


def _copied(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("runs") / run.name
    return RunFolder(Path(shutil.copytree(run.root, root)))


def tiny_starcoder2(**changes: object) -> nn.Module:
    """A StarCoder2 of two layers with random weights, float32."""
    values: dict[str, object] = {
        "sliding_window": None,
        "residual_dropout": 0.0,
        "embedding_dropout": 0.0,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return _tiny("starcoder2", **{**values, **changes})


def tiny_llama() -> nn.Module:
    """A Llama of two layers with random weights, float32."""
    return _tiny("llama")


def tiny_mistral() -> nn.Module:
    """The same of Mistral, with a sliding window shorter than documents."""
    return _tiny("mistral", sliding_window=8)


def tiny_qwen2() -> nn.Module:
    """The same of Qwen2: biased queries, keys and values, and a window in the last layer."""
    return _tiny("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1)


def tiny_qwen3() -> nn.Module:
    """The same of Qwen3: normed heads, wider together than the hidden states."""
    return _tiny("qwen3", head_dim=32)


def _tiny(model_type: str, **changes: object) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    values: dict[str, object] = {
        "vocab_size": 128,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    config = AutoConfig.for_model(model_type, **{**values, **changes})
    model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    return model


def starcoder2_3b() -> "Starcoder2Config":
    """The published configuration of StarCoder2-3B; no weights."""
    from transformers import Starcoder2Config

    return Starcoder2Config(
        vocab_size=49152,
        hidden_size=3072,
        intermediate_size=12288,
        num_hidden_layers=30,
        num_attention_heads=24,
        num_key_value_heads=2,
        max_position_embeddings=16384,
        sliding_window=4096,
        bos_token_id=0,
        eos_token_id=0,
    )


def pack_of(lengths: Sequence[int], *, capacity: int, seed: int = 0) -> Pack:
    """A buffer of random documents of ``lengths``; the first third of each is prompt, the rest half think."""
    generator = np.random.default_rng(seed)
    ids = np.full(capacity, 4, dtype=np.int32)
    parts = np.zeros(capacity, dtype=np.uint8)
    positions = np.zeros(capacity, dtype=np.int32)
    start = 0
    for length in lengths:
        ids[start : start + length] = generator.integers(5, 128, length)
        positions[start : start + length] = np.arange(length)
        parts[start + length // 3 : start + 2 * length // 3] = 1
        parts[start + 2 * length // 3 : start + length] = 2
        start += length
    positions[start:] = np.arange(capacity - start)
    tail = (capacity - start,) if start < capacity else ()
    return Pack(ids=ids, parts=parts, positions=positions, lengths=(*lengths, *tail))


@pytest.fixture(scope="module", params=["s3", "gs"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where runs are kept in a bucket of each kind."""
    with bucket(request.param, tmp_path_factory.mktemp("bucket")) as found:
        yield found


@pytest.fixture
def s3_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server of S3 with an empty bucket, at which s3:// is within the test."""
    with s3_server() as port:
        _let_be_s3(port, monkeypatch)
        yield port


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The way to a server of S3 with an empty bucket; it is s3:// within the test."""
    with s3_server() as port:
        found = Gate(port)
        _let_be_s3(found.port, monkeypatch)
        yield found
        found.close()


def _let_be_s3(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in access(port).items():
        monkeypatch.setenv(name, value)

"""`runner fetch` against a hub on this machine: what is brought, what never is, and every refusal in one line."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from fake_hub import COMMIT, ModelHub
from runner.config.job import Model

CANARY = "hf_canaryThatMustNotBeShown"
# one process fetches all models, for the hub's library takes seconds to import and reads its settings once
CLIENT = """
import contextlib, io, json, sys, time, types
from huggingface_hub import file_download
from runner.cli import download, main
download.PAUSES_S, download.ATTEMPT_S = (0.0, 0.1), 1.0
file_download.time = types.SimpleNamespace(sleep=lambda _: None)  # a second between its six tries
for name in sys.argv[1:]:
    out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(["fetch", "-o", f"model.id=some/{name}"])
        except SystemExit as end:
            code = end.code
    record = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "seconds": time.monotonic() - began}
    print("RESULT", json.dumps({name: record}), flush=True)
"""
NAMES = ("good", "pickled", "gated", "missing", "unmarked", "busy", "broken", "silent", "half", "stalled")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Fetches:
    ended: dict[str, Ended]
    hub: ModelHub
    home: Path


def fetch_all(hub_url: str, home: Path, names: tuple[str, ...]) -> dict[str, Ended]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub_url, "HF_HOME": str(home / "hf"), "HF_TOKEN": CANARY, "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *names], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""  # what the library says beside our own lines
    lines = [json.loads(line.partition(" ")[2]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return {name: Ended(**record) for line in lines for name, record in line.items()}


@pytest.fixture(scope="module")
def fetches(tmp_path_factory: pytest.TempPathFactory) -> Fetches:
    """Each of ``NAMES``, fetched once, then the hub is gone."""
    root, home = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("home")
    safe, pickled = "model.safetensors", "pytorch_model.bin"
    for name, weights in {"good": [safe, pickled], "pickled": [pickled], "half": [safe], "stalled": [safe]}.items():
        (root / name).mkdir()
        for file in [*weights, "config.json", "tokenizer.json", "modeling_own.py"]:
            (root / name / file).write_bytes(b"{}" if file.endswith("json") else b"w" * 1000)
    with ModelHub(root).serving() as hub:
        ended = fetch_all(hub.url, home, NAMES)
    return Fetches(ended, hub, home)


def test_a_model_is_brought_with_its_size_commit_and_licence(fetches: Fetches) -> None:
    good = fetches.ended["good"]
    assert good.code == 0, good.err
    assert f"model: some/good at {COMMIT[:12]}, 0.0 MB" in good.out
    assert "licence: bigcode-openrail-m (use restrictions" in good.out
    assert "data: builtin:questions" in good.out


def test_pickles_and_code_are_never_asked_for(fetches: Fetches) -> None:
    cached = {path.name for path in (fetches.home / "hf" / "hub").rglob("snapshots/*/*")}
    assert cached == {"model.safetensors", "config.json", "tokenizer.json"}
    assert not [line for line in fetches.hub.asked if line.endswith((".bin", ".py"))]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("pickled", ("no safetensors weights", "never loaded")),
        ("gated", ("the model some/gated is gated", "set HF_TOKEN")),
        ("missing", ("the model some/missing was not found", "check the id")),
        ("unmarked", ("no such revision", "model.revision")),
        ("busy", ("does not give the model some/busy", "429", "runner fetch")),
        ("broken", ("does not give the model some/broken", "503", "runner fetch")),
        ("silent", ("does not give the model some/silent", "no answer within 1 s", "runner fetch")),
        ("half", ("does not give the model some/half", "runner fetch")),
        ("stalled", ("does not give the model some/stalled", "timed out", "runner fetch")),
    ],
)
def test_a_refusal_is_one_line_and_exit_2(fetches: Fetches, name: str, parts: tuple[str, ...]) -> None:
    ended = fetches.ended[name]
    assert ended.code == 2
    assert ended.seconds < 10
    assert len(ended.err.splitlines()) == 1
    for part in parts:
        assert part in ended.err


def test_the_token_is_never_shown(fetches: Fetches) -> None:
    assert set(fetches.ended) == set(NAMES)
    for ended in fetches.ended.values():
        assert CANARY not in ended.out + ended.err


def test_a_fetched_model_is_found_when_the_hub_is_gone(fetches: Fetches) -> None:
    script = (
        "from huggingface_hub import snapshot_download\n"
        "print(snapshot_download('some/good', allow_patterns=['*.json'], local_files_only=True))"
    )
    environment = os.environ | {"HF_ENDPOINT": fetches.hub.url, "HF_HOME": str(fetches.home / "hf")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.strip()) / "config.json").read_text() == "{}"


REACH = """
import sys
from runner.cli import download
from runner.cli.ready import reach_model
from runner.config.job import Model
from runner.errors import UserError
from huggingface_hub import constants
download.PAUSES_S = (0.0, 0.1)
try:
    reach_model(Model(id=sys.argv[1]))
except UserError as error:
    print("refused:", error)
print("offline:", constants.HF_HUB_OFFLINE)
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("some/good", ["offline: True"]),
        ("some/other", ["refused: ", "offline: False"]),
        ("some/half", ["refused: ", "offline: False"]),  # config and tokenizer lie in the cache, the weights do not
        ("builtin:tiny-starcoder2", ["offline: False"]),
    ],
)
def test_without_a_hub_a_job_uses_the_cache_and_asks_no_more(fetches: Fetches, name: str, said: list[str]) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(fetches.home / "hf")}
    words = [sys.executable, "-c", REACH, name]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))
    assert ("is taken from the cache" in done.stderr) == (said == ["offline: True"])


CACHED = {
    "config.json": "{}",
    "model.safetensors.index.json": '{"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}',
    "model-1.safetensors": "",
    "model-2.safetensors": "",
}


@pytest.mark.parametrize("missing", [None, *CACHED])
@pytest.mark.parametrize("weights", ["pretrained", "random"])
def test_a_model_that_came_file_by_file_is_cached_when_all_of_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None, weights: Literal["pretrained", "random"]
) -> None:
    from huggingface_hub import constants

    from runner.cli.download import is_cached

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--some--large"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in CACHED.items():
        if name != missing:
            (folder / "snapshots" / COMMIT / name).write_text(content)
    whole = missing is None or (weights == "random" and missing != "config.json")
    assert is_cached(Model(id="some/large", weights=weights)) == whole


def test_a_hub_that_is_not_there_is_told_in_time(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = fetch_all("http://127.0.0.1:9", tmp_path, ("good",))["good"]
    assert ended.code == 2
    assert "http://127.0.0.1:9 does not give the model some/good" in ended.err
    assert time.monotonic() - began < 60


def test_the_pauses_and_attempts_end_within_a_minute() -> None:
    from runner.cli import download

    assert sum(download.PAUSES_S) + len(download.PAUSES_S) * download.ATTEMPT_S <= 45

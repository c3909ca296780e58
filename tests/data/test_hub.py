"""The hub's own libraries against a hub on this machine: found, cached, broken in every way, and gone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from data_fakes import reasoning_row, write_repository

from fake_hub import COMMIT, SET, DataHub, Mode

FAILING: dict[Mode, str] = {
    "busy": "429",
    "broken": "503",
    "portal": "",
    "silent": "within 1 s",
    "half": "peer closed connection",
    "stalled": "timed out",
}
CANARY = "hf_canaryThatMustNotBeWritten"
CLIENT = """
import json, sys, types
from pathlib import Path
from huggingface_hub import file_download
sys.path.insert(0, sys.argv[1])
from data_fakes import ByteEncoder
from runner.config.job import Data
from runner.data import hub
from runner.data.prepare import prepare
from runner.errors import UserError
hub.TRIES_S, hub.ATTEMPT_S = (0.0, 0.1), 1.0
file_download.time = types.SimpleNamespace(sleep=lambda _: None)  # a second between its six tries
for line in sys.stdin:
    changes = json.loads(line)
    encoder = ByteEncoder()
    values = {"config": "split_0", "split": "split_0", "max_length": 1024, "validation_questions": 5}
    try:
        prepared = prepare(Data(**{**values, **changes}), encoder, cache=Path(sys.argv[2]))
        answer = {"rows": prepared.ledger.rows_read, "source": prepared.ledger.source, "encoded": encoder.encoded}
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


@dataclass
class Client:
    """A process that prepares the data sets it is asked for: the hub's address is read once a process."""

    process: "subprocess.Popen[str]"

    def ask(self, **changes: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"id": SET, **changes}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def client(hub: DataHub, tmp_path: Path, name: str = "home") -> Iterator[Client]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / name / "hf"), "HF_TOKEN": CANARY}
    with (tmp_path / f"{name}.log").open("w") as log:
        arguments = [sys.executable, "-c", CLIENT, str(Path(__file__).parent), str(tmp_path / name / "cache")]
        process = subprocess.Popen(
            arguments, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        try:
            yield Client(process)
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[DataHub]:
    root = write_repository(tmp_path / "repository", [reasoning_row(number) for number in range(60)])
    with DataHub(root).serving() as served:
        yield served


def test_a_set_is_fetched_once_at_a_recorded_commit_and_outlives_the_hub(tmp_path: Path, hub: DataHub) -> None:
    with client(hub, tmp_path) as asking:
        first = asking.ask()
        assert first == {"rows": 60, "source": f"{SET} at {COMMIT[:12]} split split_0", "encoded": first["encoded"]}
        assert first["encoded"] > 0
        assert [path for path in hub.asked if path.startswith("GET") and path.endswith(".parquet")] != []
        hub.asked.clear()
        assert asking.ask()["encoded"] == 0
        assert [path for path in hub.asked if "resolve" in path] == []
        assert "data.split is one of: split_0" in asking.ask(split="train")["error"]
        hub.mode = "busy"
        assert asking.ask()["encoded"] == 0  # prepared: only the commit is asked for
        assert asking.ask(seed=3)["rows"] == 60  # prepared anew from the cache of the hub's library
        assert asking.ask(seed=4, revision=COMMIT)["rows"] == 60
        other = asking.ask(revision="b" * 40)["error"]
        assert "another commit is in the cache" in other
        assert "is not in the cache" in asking.ask(id="other/set")["error"]
    written = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in [*written, tmp_path / "home.log"] if CANARY.encode() in path.read_bytes()] == []


def test_a_hub_that_fails_is_told_in_one_line(tmp_path: Path, hub: DataHub) -> None:
    with client(hub, tmp_path) as asking:
        for mode, sign in FAILING.items():
            hub.mode = mode
            start = time.monotonic()
            error = asking.ask()["error"]
            assert f"{hub.url} cannot be reached" in error, mode
            assert sign in error, mode
            assert "run `runner fetch` with this job on a connected machine" in error
            assert "\n" not in error
            assert time.monotonic() - start < 20, mode
        hub.mode = "well"
        assert asking.ask()["rows"] == 60
    assert (tmp_path / "home.log").read_text() == ""


def test_a_set_that_is_missing_or_gated_names_the_token_and_never_shows_it(tmp_path: Path, hub: DataHub) -> None:
    with client(hub, tmp_path) as asking:
        missing = asking.ask(id="other/set")["error"]
        hub.mode = "gated"
        gated = asking.ask()["error"]
    for error in (missing, gated):
        assert "was not found or may not be read" in error
        assert "set HF_TOKEN" in error
        assert CANARY not in error


def test_the_tries_of_asking_for_a_set_end_within_a_minute() -> None:
    from runner.data import hub

    assert sum(hub.TRIES_S) + len(hub.TRIES_S) * hub.ATTEMPT_S <= 45

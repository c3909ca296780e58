"""environment.json says what a run ran on, keeps what it ran on before, and never holds a token."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runner.runs import Environment, describe, package_versions, record_environment


def environment(**versions: str) -> Environment:
    return Environment(versions, "3.12.1", "Linux", 2, None, ("one H200",), {"data": "abc"})


def test_versions_are_read_without_importing(tmp_path: Path) -> None:
    code = "import sys, runner.runs as r; print(r.package_versions()['torch']); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert told.stdout.split() == [package_versions()["torch"], "False"]


def test_the_environment_is_recorded_with_devices_fingerprints_and_commit(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    assert record_environment(path, describe(devices=["cpu"], fingerprints={"data": "abc"})) == ()
    record = json.loads(path.read_text())
    assert record["devices"] == ["cpu"]
    assert record["fingerprints"] == {"data": "abc"}
    assert record["versions"]["ray"] == package_versions()["ray"]
    assert record["python"] == sys.version.split()[0]
    assert record["commit"] is None or len(record["commit"].removesuffix("+changes")) == 40


def test_a_resume_on_other_versions_is_told_and_the_earlier_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    record_environment(path, environment(torch="2.11"))
    assert record_environment(path, environment(torch="2.11")) == ()
    assert record_environment(path, environment(torch="2.13")) == ("versions.torch: 2.11 -> 2.13",)
    record_environment(path, environment(torch="2.14"))
    record = json.loads(path.read_text())
    assert record["versions"]["torch"] == "2.14"
    assert [earlier["versions"]["torch"] for earlier in record["earlier"]] == ["2.11", "2.13"]


def test_a_spoilt_record_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    path.write_bytes(b"{torn")
    assert record_environment(path, environment(torch="2.13")) == ()
    assert json.loads(path.read_text())["versions"] == {"torch": "2.13"}


def test_no_environment_variable_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "SOMETHING"):
        monkeypatch.setenv(key, "canary-4711")
    record_environment(tmp_path / "environment.json", describe())
    assert "canary-4711" not in (tmp_path / "environment.json").read_text()


def test_records_and_reports_import_nothing_heavy() -> None:
    heavy = {"torch", "ray", "transformers", "tensorboard", "numpy"}
    code = f"import sys, runner.runs, runner.report; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"

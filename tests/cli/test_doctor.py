"""The checks of `runner doctor`: each is seen to pass and to fail."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread

import pytest

from runner.cli import checks, ray_checks
from typed import typed

CANARY = "hf_canaryThatMustNotBeShown"
GCS = "/venv/ray/core/src/ray/gcs/gcs_server"
DASHBOARD = "/venv/ray/dashboard/dashboard.py"


def process(folder: Path, number: int, words: list[str], access: str | None) -> None:
    (folder / str(number)).mkdir(parents=True)
    (folder / str(number) / "cmdline").write_bytes("\0".join([*words, ""]).encode())
    settings = [b"PATH=/bin", *([f"RAY_AUTH_MODE={access}".encode()] if access else [])]
    (folder / str(number) / "environ").write_bytes(b"\0".join(settings))


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A port that answers every request with ``status``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_a_machine_without_ray_has_no_cluster(tmp_path: Path) -> None:
    process(tmp_path, 12, ["python", "train.py", "--note", GCS.removesuffix("_server")], None)
    (check,) = ray_checks.check_clusters(tmp_path)
    assert (check.verdict, check.found) == ("ok", "none runs on this machine")


@pytest.mark.parametrize(("access", "verdict"), [("token", "note"), ("disabled", "fail"), (None, "note")])
def test_a_cluster_left_over_is_told_with_address_owner_and_access(
    tmp_path: Path, access: str | None, verdict: str
) -> None:
    process(tmp_path, 7, [GCS, "--gcs_server_port=6399", "--node-ip-address=10.0.0.5"], access)
    (check,) = ray_checks.check_clusters(tmp_path)
    assert check.verdict == verdict
    assert "10.0.0.5:6399" in check.found
    assert f"access {access or 'unknown'}" in check.found
    assert check.remedy


@pytest.mark.parametrize(("status", "verdict"), [(200, "fail"), (401, "ok"), (404, "ok"), (500, "fail")])
def test_a_jobs_api_that_answers_without_a_token_fails(tmp_path: Path, status: int, verdict: str) -> None:
    process(tmp_path, 7, [GCS, "--gcs_server_port=6399"], "token")
    with answering(status) as port:
        process(tmp_path, 8, ["python3", DASHBOARD, "--host=0.0.0.0", f"--port={port}"], "token")
        _, check = ray_checks.check_clusters(tmp_path)
    assert check.verdict == verdict
    assert f"0.0.0.0:{port}" in check.found


def test_a_dashboard_that_does_not_answer_is_a_note(tmp_path: Path) -> None:
    process(tmp_path, 7, [GCS, "--gcs_server_port=6399"], "token")
    process(tmp_path, 8, ["python3", DASHBOARD, "--port", "9"], "token")
    assert [check.verdict for check in ray_checks.check_clusters(tmp_path)] == ["note", "note"]


@pytest.mark.parametrize(("mode", "verdict"), [(0o600, "ok"), (0o644, "fail"), (0o640, "fail")])
def test_a_token_file_that_others_can_read_fails(tmp_path: Path, mode: int, verdict: str) -> None:
    file = tmp_path / "auth_token"
    file.write_text("secret")
    file.chmod(mode)
    check = ray_checks.check_token_file(file)
    assert check.verdict == verdict
    assert f"{mode:04o}" in check.found
    assert "secret" not in check.found
    assert ray_checks.check_token_file(tmp_path / "none").verdict == "ok"


def test_a_token_file_that_is_named_is_the_one_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mounted"
    file.write_text("secret")
    file.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    check = ray_checks.check_token_file()
    assert (check.verdict, str(file) in check.found) == ("note", True)
    file.chmod(0o600)
    assert ray_checks.check_token_file().verdict == "ok"


def test_packages_out_of_range_or_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_packages().verdict == "ok"
    wanted = ["typer>=99", "no-such-package-here>=1", "pydantic>=2", 'gguf>=99; extra == "test"']
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    check = checks.check_packages()
    assert check.verdict == "fail"
    assert f"typer is {metadata.version('typer')} (needs >=99)" in check.found
    assert "no-such-package-here is missing" in check.found
    assert "pydantic" not in check.found
    assert "gguf" not in check.found


def test_a_small_or_closed_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_disk("disk", tmp_path / "not" / "there").verdict == "ok"
    monkeypatch.setattr(checks, "LEAST_DISK_GIB", 1e9)
    assert checks.check_disk("disk", tmp_path).verdict == "fail"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written" in checks.check_disk("disk", tmp_path).found


def test_quantization_passes_here_and_fails_when_values_come_back_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes.functional
    import torch

    assert checks.check_quantization().verdict == "ok"
    monkeypatch.setattr(bitsandbytes.functional, "dequantize_4bit", lambda *_: torch.zeros(64, 64))
    check = checks.check_quantization()
    assert (check.verdict, "off by 1.000" in check.found) == ("fail", True)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image\nfor this device")

    monkeypatch.setattr(bitsandbytes.functional, "quantize_4bit", broken)
    assert checks.check_quantization().found.endswith("failed: no kernel image")


def test_a_gpu_that_torch_cannot_use_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(checks, "DEVICES", tmp_path)
    assert [check.verdict for check in checks.check_devices()] == ["ok"]
    (tmp_path / "nvidia0").touch()
    assert [check.verdict for check in checks.check_devices()] == ["fail"]


def test_the_hubs_token_is_said_to_be_set_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(ray_checks, "check_clusters", lambda: [])
    code, out, said = typed(capsys, "doctor", "--storage", str(tmp_path))
    shown = out + said
    assert "HF_TOKEN       set" in shown
    assert "offline by HF_HUB_OFFLINE" in shown
    assert CANARY not in shown
    assert code == int("fail " in shown)
    assert all("->" in line or line[:4].strip() in {"ok", "note", "fail"} for line in shown.splitlines()[:-2])


def test_a_failing_check_makes_doctor_end_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = checks.Check("python", "fail", "2.7", "take a newer one")
    monkeypatch.setattr("runner.cli.doctor._checks", lambda _: iter([wrong]))
    code, out, _ = typed(capsys, "doctor")
    assert code == 1
    assert "take a newer one" in out

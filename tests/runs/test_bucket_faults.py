"""A bucket that is not there, does not answer or says no: one line within seconds, and no secret in it."""

import os
import socket
import time
from pathlib import Path

import pytest

from bucket_server import BUCKET, KEY, SECRET, Gate, ask_for_credentials, free_port
from runner.errors import UserError
from runner.runs.remote.faults import Refused, StorageFault, Unreachable, told
from runner.runs.remote.opening import check_storage
from runner.runs.remote.store import Store
from runner.runs.remote.viewing import view, view_all

SECONDS = 15.0


def refused(url: str) -> StorageFault:
    began = time.monotonic()
    with pytest.raises(StorageFault) as error:
        check_storage(url)
    assert time.monotonic() - began < SECONDS
    assert error.value.exit_code == 2
    assert KEY not in str(error.value)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.usefixtures("s3_port")
def test_a_bucket_that_takes_everything_is_fine_and_nothing_is_left_in_it() -> None:
    check_storage(f"s3://{BUCKET}/runs")
    assert Store(f"s3://{BUCKET}").keys("") == []


@pytest.mark.usefixtures("s3_port")
def test_no_such_bucket() -> None:
    assert str(refused("s3://missing/runs")).startswith("there is no bucket missing; s3://missing/runs at http://127")


def test_wrong_credentials(s3_port: int) -> None:
    ask_for_credentials(s3_port, after=0)
    error = refused(f"s3://{BUCKET}/runs")
    assert isinstance(error, Refused)
    assert "the storage refuses the credentials (InvalidAccessKeyId)" in str(error)
    assert "set AWS_PROFILE, or AWS_ACCESS_KEY_ID" in error.remedy


@pytest.mark.usefixtures("s3_port")
def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "no credentials for the storage are found" in str(refused(f"s3://{BUCKET}/runs"))


@pytest.mark.usefixtures("s3_port")
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    error = refused(f"s3://{BUCKET}/runs")
    assert isinstance(error, Unreachable)
    assert "does not answer (EndpointConnectionError)" in str(error)


@pytest.mark.usefixtures("s3_port")
def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.runs.remote.store.ANSWER_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert isinstance(refused(f"s3://{BUCKET}/runs"), Unreachable)


@pytest.mark.usefixtures("s3_port")
def test_a_store_that_lets_two_make_the_same_object_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(store: Store, key: str, content: bytes) -> bool:
        store.write(key, content)
        return True

    monkeypatch.setattr(Store, "create", create)
    assert "takes no conditional writes" in str(refused(f"s3://{BUCKET}/runs"))
    assert Store(f"s3://{BUCKET}").keys("") == []


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.runs.remote.store.PACKAGES", {"s3": "no_such_package"})
    with pytest.raises(UserError, match=r"needs the package no_such_package; s3://b; pip install no_such_package"):
        check_storage("s3://b")


def test_rights_that_are_missing_are_told_of_both_clouds() -> None:
    forbidden = OSError("Forbidden: https://storage/canary-path\ncanary text of the server")
    for url, error in (("gs://b/r", forbidden), ("s3://b/r", PermissionError("canary text"))):
        fault = told(error, url)
        assert str(fault).startswith("the credentials may not do this with the storage; ")
        assert "canary" not in str(fault)


def test_an_endpoint_with_a_password_is_shown_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:canary@host:9000")
    assert str(told(TimeoutError("canary"), "s3://b/r")).endswith(
        "s3://b/r at host:9000; see whether it can be reached from this machine"
    )


@pytest.mark.usefixtures("s3_port")
def test_looking_at_what_is_not_there(tmp_path: Path) -> None:
    root = view_all(f"s3://{BUCKET}/runs", tmp_path)
    assert not list(root.glob("*"))
    with pytest.raises(UserError, match=r"there is no run demo; .*there is none yet"):
        view(f"s3://{BUCKET}/runs", tmp_path, "demo")
    with pytest.raises(Refused, match="there is no bucket missing"):
        view_all("s3://missing/runs", tmp_path)


def test_a_server_that_comes_back_is_used_again(gate: Gate) -> None:
    store = Store(f"s3://{BUCKET}")
    store.write("x", b"1")
    gate.shut()
    with pytest.raises(Unreachable):
        store.read("x")
    gate.open()
    assert store.read("x") == b"1"
    assert "AWS_SECRET_ACCESS_KEY" in os.environ

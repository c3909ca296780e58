"""The address of a Ray cluster: who answers there, with which token, of which version."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest

from ray_head import BIN, ray_cluster
from runner.cli.checks import Check
from runner.cli.ray_checks import check_clusters
from runner.distributed.joining import CONNECT_S, WHO_ARE_YOU, check_address
from runner.distributed.token import ACCESS, TOKEN, TOKEN_PATH
from runner.errors import UserError

SECRET = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (TOKEN, TOKEN_PATH, ACCESS):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def silent() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def web() -> Iterator[int]:
    """A web server."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def cluster(token: str | None) -> Iterator[int]:
    """What answers a driver's first question as a Ray cluster does that asks for ``token``."""

    def answer(_: bytes, context: Any) -> bytes:
        sent = dict(context.invocation_metadata()).get("authorization")
        if token is not None and sent != f"Bearer {token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""

    service, _, name = WHO_ARE_YOU.strip("/").rpartition("/")
    handler = grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(answer)})
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("server", [silent, web])
def test_something_else_that_listens_is_told_within_ten_seconds(server: Callable[[], Any]) -> None:
    with server() as port:
        began = time.monotonic()
        with pytest.raises(UserError, match=rf"no Ray cluster answers \(something else .*address 127.0.0.1:{port};"):
            check_address(f"127.0.0.1:{port}")
        assert time.monotonic() - began < CONNECT_S + 5


def test_a_cluster_without_a_token_is_joined_without_one() -> None:
    with cluster(None) as port:
        check_address(f"127.0.0.1:{port}")
    assert ACCESS not in os.environ


def test_a_cluster_that_asks_for_a_token_says_so_and_which_variable_to_set() -> None:
    with cluster(SECRET) as port, pytest.raises(UserError, match=rf"asks for a token .*; set {TOKEN}, or put"):
        check_address(f"127.0.0.1:{port}")
    assert ACCESS not in os.environ


def test_a_wrong_token_is_told_by_where_it_was_found_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "wrong" * 9)
    with cluster(SECRET) as port, pytest.raises(UserError, match=rf"refuses the token .*, token of {TOKEN};") as told:
        check_address(f"127.0.0.1:{port}")
    assert "wrongwrong" not in str(told.value)
    assert ACCESS not in os.environ


def test_a_token_that_is_taken_is_used_by_ray_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCESS, "disabled")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(SECRET + "\n")
    with cluster(SECRET) as port:
        check_address(f"127.0.0.1:{port}")
    assert os.environ[ACCESS] == "token"


JOIN = """
from runner.config.cluster import Cluster
from runner.distributed.ray_session import ray_session
with ray_session(Cluster(address={address!r})) as resources:
    print("joined", resources.workers)
    {then}
"""
AGE = """import json; from ray.experimental.internal_kv import _internal_kv_get as get, _internal_kv_put as put
    told = json.loads(get(b"CLUSTER_METADATA", namespace=b"cluster"))
    put(b"CLUSTER_METADATA", json.dumps({**told, "ray_version": "2.0.0"}).encode(), True, namespace=b"cluster")"""


@pytest.mark.slow
def test_a_real_cluster_is_joined_with_its_token_alone_and_by_its_own_version_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ray_cluster(tmp_path) as head:
        train = [str(BIN / "runner"), "train", "--storage", str(tmp_path / "runs"), "--address", head.joined_at]

        def refused() -> str:
            began = time.monotonic()
            done = subprocess.run(train, capture_output=True, text=True, check=False)
            assert done.returncode == 2, done.stderr
            assert time.monotonic() - began < 30
            (line,) = done.stderr.splitlines()
            return line

        def join(then: str) -> None:
            script = JOIN.format(address=head.joined_at, then=then)
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
            assert done.stdout == "joined 1\n", done.stderr

        assert "the cluster asks for a token and there is none" in refused()
        monkeypatch.setenv(TOKEN, SECRET)
        assert f"the cluster refuses the token (UNAUTHENTICATED); cluster.address {head.joined_at}" in refused()
        monkeypatch.delenv(TOKEN)
        monkeypatch.setenv(TOKEN_PATH, head.environment[TOKEN_PATH])
        join("pass")
        join(AGE)
        assert "the cluster has Ray 2.0.0 on Python 3." in refused()


ALONE = """
from runner.config.cluster import Cluster
from runner.distributed.ray_session import ray_session
with ray_session(Cluster(cpus_per_worker=1)):
    import ray
    print(ray.get_runtime_context().gcs_address)
"""


@pytest.mark.slow
def test_a_ray_left_over_on_the_machine_is_not_joined_and_asks_for_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ray_cluster(tmp_path, cpus=1) as head:
        monkeypatch.setenv("RAY_ADDRESS", head.joined_at)
        done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ":" in done.stdout
        assert done.stdout.strip() != head.joined_at
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{head.address}/api/jobs/", timeout=10)
        port = head.address.rpartition(":")[2]
        assert Check("ray dashboard", "ok", f"127.0.0.1:{port} asks for a token (401)") in check_clusters()

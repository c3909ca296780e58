"""A data set hub on this machine, with the few answers that loading one set asks for, and its faults."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal
from urllib.parse import unquote, urlparse

Mode = Literal["well", "busy", "portal", "silent", "half", "gated"]
COMMIT = "a" * 40
SET = "some/set"


class FakeHub:
    """Serves the files under ``root`` as the data set some/set; ``mode`` is how well it does so from now on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mode: Mode = "well"
        self.asked: list[str] = []
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        hub = self

        class Handler(_Handler):
            served = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: FakeHub

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing; the asked paths are in ``FakeHub.asked``."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.served.asked.append(f"{self.command} {path}")
        mode = self.served.mode
        if mode == "silent":
            time.sleep(30)
        elif mode == "busy":
            self._json({"error": "busy"}, 503)
        elif mode == "portal":
            self._bytes(b"<html>Please sign in</html>", {"Content-Type": "text/html"})
        elif path.startswith(f"/api/datasets/{SET}/tree/"):
            self._tree(path.removeprefix(f"/api/datasets/{SET}/tree/{COMMIT}").strip("/"))
        elif path.startswith(f"/api/datasets/{SET}"):
            names = [file.relative_to(self.served.root).as_posix() for file in self._files(self.served.root)]
            self._json({"id": SET, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})
        elif path.startswith(f"/datasets/{SET}/resolve/"):
            self._file(path.split("/", 6)[6])
        else:
            self._refuse("RepoNotFound", 401)

    def _files(self, folder: Path) -> list[Path]:
        return sorted(file for file in folder.rglob("*") if file.is_file())

    def _tree(self, below: str) -> None:
        folder = self.served.root / below
        entries = [
            {
                "type": "file" if entry.is_file() else "directory",
                "path": entry.relative_to(self.served.root).as_posix(),
                "size": entry.stat().st_size if entry.is_file() else 0,
                "oid": hashlib.sha1(str(entry).encode()).hexdigest(),
            }
            for entry in sorted(folder.iterdir())
        ]
        self._json(entries)

    def _file(self, name: str) -> None:
        file = self.served.root / name
        if self.served.mode == "gated" and name != ".huggingface.yaml":
            self._refuse("GatedRepo", 401)
        elif not file.is_file():
            self._refuse("EntryNotFound", 404)
        else:
            content = file.read_bytes()
            marks = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            cut = self.served.mode == "half" and name.endswith(".parquet")
            self._bytes(content, marks, sent=len(content) // 2 if cut else len(content))

    def _refuse(self, code: str, status: int) -> None:
        self._json({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code, "X-Repo-Commit": COMMIT})

    def _json(self, value: object, status: int = 200, marks: Mapping[str, str] | None = None) -> None:
        self._bytes(json.dumps(value).encode(), {"Content-Type": "application/json", **(marks or {})}, status=status)

    def _bytes(self, content: bytes, marks: Mapping[str, str], *, status: int = 200, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**marks, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:sent])
        if sent is not None and sent < len(content):
            self.wfile.flush()
            self.connection.close()

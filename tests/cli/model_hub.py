"""A model hub on this machine: a good repository, and names that stand for what can go wrong with one."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlparse

COMMIT = "b" * 40
REFUSALS = {"gated": ("GatedRepo", 403), "missing": ("RepoNotFound", 404), "unmarked": ("RevisionNotFound", 404)}
BUSY = {"busy": 429, "broken": 503}


class ModelHub:
    """Serves the folder ``root/NAME`` as the model some/NAME, except for the names of faults."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator["ModelHub"]:
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
    served: ModelHub

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing; the asked paths are in ``ModelHub.asked``."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.served.asked.append(f"{self.command} {path}")
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name = parts[1] if len(parts) > 1 else ""
        folder = self.served.root / name
        if name == "silent":
            time.sleep(20)
        elif name in BUSY:
            self._json({"error": "later"}, BUSY[name])
        elif name in REFUSALS or not folder.is_dir():
            code, status = REFUSALS.get(name, ("RepoNotFound", 404))
            self._json({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})
        elif "resolve" in parts:
            self._file(folder / "/".join(parts[parts.index("resolve") + 2 :]))
        elif "tree" in parts:
            self._json(
                [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": _mark(p)} for p in _files(folder)]
            )
        else:
            self._json(_card(f"some/{name}", folder))

    def _file(self, file: Path) -> None:
        if file.is_file():
            self._send(file.read_bytes(), 200, {"ETag": f'"{_mark(file)}"', "X-Repo-Commit": COMMIT})
        else:
            self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def _json(self, value: object, status: int = 200, marks: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(marks or {})})

    def _send(self, content: bytes, status: int, marks: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**marks, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _card(name: str, folder: Path) -> dict[str, object]:
    siblings = [{"rfilename": file.name, "size": file.stat().st_size} for file in _files(folder)]
    return {"id": name, "sha": COMMIT, "tags": ["license:bigcode-openrail-m"], "siblings": siblings}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _mark(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()

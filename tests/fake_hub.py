"""Hugging Face hubs on this machine, one of data sets and one of models, with every way in which a hub can fail.

Only the answers that loading one repository asks for are given; nothing is uploaded.
"""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal, Self
from urllib.parse import unquote, urlparse

Mode = Literal["well", "busy", "broken", "portal", "silent", "half", "stalled", "gated"]
COMMIT = "a" * 40
SET = "some/set"
SILENCE_S = 30.0
REFUSALS = {"gated": ("GatedRepo", 403), "missing": ("RepoNotFound", 404), "unmarked": ("RevisionNotFound", 404)}
BUSY = {"busy": 429, "broken": 503}


@dataclass(frozen=True)
class Answer:
    """What a hub sends; with ``sent`` the connection ends after so many of its bytes and ``silence_s``."""

    content: bytes
    status: int = 200
    marks: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None
    silence_s: float = 0.0


class Hub(ABC):
    """Serves what lies under ``root`` while ``serving``; ``asked`` has every request, oldest first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.url = ""

    @abstractmethod
    def answer(self, path: str) -> Answer | None:
        """What is sent for ``path``; None, after a long silence, for nothing."""

    @contextmanager
    def serving(self) -> Iterator[Self]:
        hub: Hub = self

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
    served: Hub

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing; the asked paths are in ``Hub.asked``."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.served.asked.append(f"{self.command} {path}")
        answer = self.served.answer(path)
        if answer is None:
            return
        self.send_response(answer.status)
        for name, value in {**answer.marks, "Content-Length": str(len(answer.content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.content[: answer.sent])
        if answer.sent is not None:
            self.wfile.flush()
            time.sleep(answer.silence_s)
            self.connection.close()


class DataHub(Hub):
    """Serves the files under ``root`` as the data set some/set; ``mode`` is how well it does so from now on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.mode: Mode = "well"

    def answer(self, path: str) -> Answer | None:
        if self.mode == "silent":
            time.sleep(SILENCE_S)
            return None
        if self.mode in BUSY:
            return _json({"error": "later"}, BUSY[self.mode])
        if self.mode == "portal":
            return Answer(b"<html>Please sign in</html>", marks={"Content-Type": "text/html"})
        if path.startswith(f"/api/datasets/{SET}/tree/"):
            return _tree(self.root, path.removeprefix(f"/api/datasets/{SET}/tree/{COMMIT}").strip("/"))
        if path.startswith(f"/api/datasets/{SET}"):
            return _json(_card(SET, self.root))
        if path.startswith(f"/datasets/{SET}/resolve/"):
            return self._resolved(path.split("/", 6)[6])
        return _refusal("RepoNotFound", 401)

    def _resolved(self, name: str) -> Answer:
        if self.mode == "gated" and name != ".huggingface.yaml":
            return _refusal("GatedRepo", 401)
        faulty = self.mode in ("half", "stalled") and name.endswith(".parquet")
        return _file(self.root / name, half=faulty, silence_s=SILENCE_S if self.mode == "stalled" else 0.0)


class ModelHub(Hub):
    """Serves the folder ``root/NAME`` as the model some/NAME, except for the names of faults.

    Of the weights of some/half and some/stalled every connection brings a half, and then ends or falls silent.
    """

    def answer(self, path: str) -> Answer | None:
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name = parts[1] if len(parts) > 1 else ""
        folder = self.root / name
        if name == "silent":
            time.sleep(SILENCE_S)
            return None
        if name in BUSY:
            return _json({"error": "later"}, BUSY[name])
        if name in REFUSALS or not folder.is_dir():
            return _refusal(*REFUSALS.get(name, REFUSALS["missing"]))
        if "resolve" in parts:
            file = folder / "/".join(parts[parts.index("resolve") + 2 :])
            faulty = name in ("half", "stalled") and file.suffix == ".safetensors"
            return _file(file, half=faulty, silence_s=SILENCE_S if name == "stalled" else 0.0)
        if "tree" in parts:
            return _tree(folder, "")
        return _json(_card(f"some/{name}", folder))


def _json(value: object, status: int = 200, marks: Mapping[str, str] | None = None) -> Answer:
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(marks or {})})


def _refusal(code: str, status: int) -> Answer:
    return _json({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code, "X-Repo-Commit": COMMIT})


def _file(file: Path, *, half: bool = False, silence_s: float = 0.0) -> Answer:
    if not file.is_file():
        return _refusal("EntryNotFound", 404)
    content = file.read_bytes()
    marks = {"ETag": f'"{_mark(content)}"', "X-Repo-Commit": COMMIT}
    return Answer(content, 200, marks, sent=len(content) // 2 if half else None, silence_s=silence_s)


def _card(name: str, folder: Path) -> dict[str, object]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    siblings = [{"rfilename": file.relative_to(folder).as_posix(), "size": file.stat().st_size} for file in files]
    return {"id": name, "sha": COMMIT, "tags": ["license:bigcode-openrail-m"], "siblings": siblings}


def _tree(root: Path, below: str) -> Answer:
    entries = [
        {
            "type": "file" if entry.is_file() else "directory",
            "path": entry.relative_to(root).as_posix(),
            "size": entry.stat().st_size if entry.is_file() else 0,
            "oid": _mark(str(entry).encode()),
        }
        for entry in sorted((root / below).iterdir())
    ]
    return _json(entries)


def _mark(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()

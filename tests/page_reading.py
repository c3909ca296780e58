"""Pages as a reader meets them: their tags and text, and what headless Chromium makes of them."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000")


class Reading(HTMLParser):
    """The tags of a page with their attributes, its text, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def in_chromium(page: str, measure: str, folder: Path, *, width: int, dark: bool) -> Any:
    """What the JavaScript expression ``measure`` is on the page in a window of ``width`` pixels."""
    script = (
        "<script>addEventListener('load', () => { const root = document.documentElement;"
        f"root.dataset.found = JSON.stringify({measure}) }})</script>"
    )
    (folder / "inner.html").write_text(page.replace("<head>", "<head>" + ERRORS, 1) + script)
    outer = folder / "outer.html"  # a window is never as narrow as a frame can be
    outer.write_text(
        f'<iframe id=f src="inner.html" width={width} height=700 style="border:0"></iframe><script>onload = () =>'
        "{ document.body.dataset.found = f.contentDocument.documentElement.dataset.found }</script>"
    )
    assert CHROMIUM is not None
    command = [CHROMIUM, *OPTIONS, "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<body data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stderr
    return json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


ERRORS = (
    "<script>window.faults = []; addEventListener('error', event => faults.push(String(event.message)));"
    "console.error = (...words) => faults.push(words.join(' '))</script>"
)

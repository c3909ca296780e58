"""What a local file holds, as the sha256 of its bytes; that of a large file is remembered.

Which files count is left to ``sources``.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from runner.data.store import sha256_of, write_whole

REMEMBERED_BYTES = 64 * 2**20  # what is larger is not read at every start: hashing 4 GB takes seconds


def content_of(file: Path, cache: Path) -> str:
    """The sha256 of the bytes of ``file``; that of a large one is remembered under ``cache``.

    The memory counts as long as path, inode, size and both times of change are the same.  A copy of the file is
    read anew, and so is a file whose memory is damaged.
    """
    facts = file.stat()
    if facts.st_size <= REMEMBERED_BYTES:
        return sha256_of(file)
    state = f"{file.resolve()} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
    memory = cache / "contents" / _hash(state)[:24]
    content = _remembered(memory, state)
    if content is None:
        content = sha256_of(file)
        with suppress(OSError):  # on a full disk: it is read again at the next start
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_whole(memory, f"{content} {_hash(f'{state} {content}')}\n")
    return content


def _remembered(memory: Path, state: str) -> str | None:
    try:
        content, seal = memory.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    return content if seal == _hash(f"{state} {content}") else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

"""Whether every machine of a Ray cluster sees the folder of a run: asked before anything is trained.

Workers write and read checkpoints there; which machine they come to lie on, Ray decides.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.distributed.every_node import ask_each
from runner.errors import UserError

MARKER = "seen-by-all"


def check_seen_by_all(folder: Path, nodes: Sequence[dict[str, Any]]) -> None:
    """Raise ``UserError`` unless all ``nodes``, as Ray lists them, read in ``folder`` what is written there here.

    Machines that do not answer in time are left out.
    """
    if len(nodes) < 2:
        return
    marker, content = folder / f"{MARKER}-{uuid.uuid4().hex}", uuid.uuid4().hex
    marker.write_text(content)
    try:
        answers = ask_each(nodes, _read, str(marker))
    finally:
        marker.unlink(missing_ok=True)
    if blind := [node["NodeManagerAddress"] for node, read in answers if read != content]:
        raise UserError(
            f"{len(blind)} of {len(nodes)} nodes do not see the folder of the run ({', '.join(sorted(blind))})",
            f"--storage {folder.parent}",
            "give a folder that all nodes see under the same path, as a network file system",
        )


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None

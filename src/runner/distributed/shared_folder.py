"""Whether every machine of a Ray cluster sees the folder of a run: asked before anything is trained.

Workers write and read checkpoints there; which machine they come to lie on, Ray decides.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.errors import UserError

ANSWER_S = 60.0  # for a process to start on a busy machine
MARKER = "seen-by-all"


def check_seen_by_all(folder: Path, nodes: Sequence[dict[str, Any]]) -> None:
    """Raise ``UserError`` unless all ``nodes``, as Ray lists them, read in ``folder`` what is written there here.

    Machines that do not answer in time are left out: whether they are there at all is for Ray to say.
    """
    if len(nodes) < 2:
        return
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    marker, content = folder / f"{MARKER}-{uuid.uuid4().hex}", uuid.uuid4().hex
    marker.write_text(content)
    try:
        read = ray.remote(num_cpus=0, max_retries=0)(_read)
        asked = {
            read.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(marker)
            ): node
            for node in nodes
        }
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
        blind = [asked[answer]["NodeManagerAddress"] for answer in answered if not _is(answer, content)]
    finally:
        marker.unlink(missing_ok=True)
    if blind:
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


def _is(answer: Any, content: str) -> bool:
    import ray

    try:
        return bool(ray.get(answer) == content)
    except ray.exceptions.RayError:  # the node went meanwhile
        return True

"""Where a base model comes from: the embedded one, a folder, or the hub.

Loading weights is in ``base``; bringing them into the cache beforehand is ``runner fetch``.
"""

from pathlib import Path

from runner.errors import UserError

EMBEDDED = {"builtin:tiny-starcoder2": Path(__file__).parent / "tiny"}


def locate(model_id: str) -> str:
    """The folder of an embedded or local model, or the hub id unchanged.

    Raises ``UserError`` for an unknown ``builtin:`` name and for a path that is no folder.
    """
    if model_id.startswith("builtin:"):
        if model_id not in EMBEDDED:
            raise UserError(f"model.id is {model_id}", "", f"the embedded models are: {', '.join(sorted(EMBEDDED))}")
        return str(EMBEDDED[model_id])
    path = Path(model_id).expanduser()
    if model_id.startswith(("/", "./", "../", "~")) and not path.is_dir():
        raise UserError(f"model.id is {model_id}, and no such folder exists", "", "check the path")
    return str(path) if path.is_dir() else model_id

"""Data sets of the Hugging Face hub: which commit is meant, within a minute or one line of error, and how to ask it.

Reading rows is left to ``loading``; tokens of access are only ever read by the hub's own library.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.config.job import Data
from runner.data.loading import Request, not_found, refusal, unreachable
from runner.data.store import write_whole
from runner.errors import UserError

TRIES_S = (0.0, 2.0, 6.0)  # pauses before each attempt
ATTEMPT_S = 8.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Commit:
    """A commit of a hub set; ``refused`` says why the hub did not answer, "" if it did, None if it was not asked."""

    id: str
    refused: str | None


def commit_of(repository: str, revision: str | None, cache: Path) -> Commit:
    """The commit that ``revision`` (null: the newest) stands for, remembered in ``cache``.

    A full commit needs no question to the hub.  If the hub does not answer within 32 s, the commit remembered
    from the last time counts; UserError if there is none, and at once if the set or revision does not exist.
    """
    if revision and _COMMIT.fullmatch(revision):
        return Commit(revision, refused=None)
    memory = cache / "commits" / f"{hashlib.sha256(f'{repository}@{revision}'.encode()).hexdigest()[:24]}.json"
    answer = _asked(repository, revision)
    if isinstance(answer, str):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memory, json.dumps({"id": repository, "revision": revision, "commit": answer}))
        return Commit(answer, refused="")
    try:
        return Commit(str(json.loads(memory.read_text(encoding="utf-8"))["commit"]), refused=refusal(answer))
    except (OSError, ValueError, KeyError):
        raise unreachable(repository, refusal(answer)) from answer


def _asked(repository: str, revision: str | None) -> str | BaseException:
    """The hub's answer, or the last fault of reaching it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def ask() -> str:  # its own limit is the later one, so that a silent hub is always told by `_within`
        return str(HfApi().dataset_info(repository, revision=revision, timeout=2 * ATTEMPT_S).sha)

    answer: str | BaseException = TimeoutError("no answer")
    for pause in TRIES_S:
        time.sleep(pause)
        answer = _within(ATTEMPT_S, ask)
        if isinstance(answer, RevisionNotFoundError):
            raise UserError(
                f"revision {revision} of {repository} does not exist", "data.revision", "name a commit, branch or tag"
            ) from answer
        if isinstance(answer, GatedRepoError | RepositoryNotFoundError | HFValidationError):
            raise not_found(repository, refusal(answer)) from answer
        if isinstance(answer, str | OfflineModeIsEnabled):
            break
    return answer


def _within(seconds: float, call: Callable[[], str]) -> str | BaseException:
    """What ``call`` returns or raises, TimeoutError after ``seconds``: a name look-up alone can hang longer."""
    results: list[str | BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread, which sorts it
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else TimeoutError(f"no answer within {seconds:.0f} s")


def requests_of_hub(data: Data, commit: Commit, name: str) -> list[Request]:
    """What to ask ``loading`` for: data.split, and data.validation_split if there is one, at ``commit``.

    A hub that does not answer is asked no further: the rows come from the Hugging Face cache, complete and of
    this commit, or UserError says that the hub cannot be reached.
    """
    from huggingface_hub import constants

    constants.HF_HUB_DOWNLOAD_TIMEOUT = int(ATTEMPT_S)  # a stalled file is tried 6 times with 1 s between: 53 s in all
    refused = commit.refused
    if refused is None:
        answer = _asked(data.id, commit.id)
        refused = "" if isinstance(answer, str) else refusal(answer)
    splits = [split for split in (data.split, data.validation_split) if split]
    return [Request(data.id, data.config, split, name, revision=commit.id, refused=refused) for split in splits]

"""The answer of a search as files in its folder: jobs to train, plain values, a page.

What the answer is, is ``answer``'s; this only writes it, at any time, from the study so far.
"""

import json
import shlex
from pathlib import Path

from runner.report import Command
from runner.report.commands import typed
from runner.report.png import plots_folder
from runner.runs.durable import write_file
from runner.runs.environment import package_versions
from runner.search.answer import Answer, answer_of, as_json
from runner.search.best import write_answer_job
from runner.search.folder import SearchFolder
from runner.search.page import SearchPage, write_page
from runner.search.pairs import Pair
from runner.search.records import Study
from runner.search.space import Space

TOLD_VERSIONS = ("runner", "torch", "ray", "optuna")


def conclude(folder: SearchFolder, space: Space, study: Study) -> Answer:
    """The answer of ``study``, written into ``folder``; job files only for what has been measured."""
    search = space.search
    answer = answer_of(
        study,
        objective=search.objective,
        stop_steps=search.stop_steps,
        tolerance=search.tolerance,
        distributions=space.distributions,
    )
    earliest = answer.earliest if answer.earliest != answer.best else None
    _write_job(folder.best_file, space, study, answer.best)
    _write_job(folder.earliest_file, space, study, earliest)
    write_file(folder.answer_file, (json.dumps(as_json(answer), indent=1) + "\n").encode())
    versions = package_versions()
    facts = (", ".join(f"{name} {versions[name]}" for name in TOLD_VERSIONS if name in versions),)
    page = SearchPage(search.name, study, answer, _again(folder), next_commands(folder), facts)
    folder.inside(plots_folder(folder.page_file).name)  # raises where a link leads out
    write_page(folder.page_file, page)
    return answer


def next_commands(folder: SearchFolder) -> tuple[Command, ...]:
    """What to type after a search: the jobs that it has written."""
    effects = {folder.earliest_file: "trains to the earliest stop that is as good", folder.best_file: "trains the best"}
    words = {path: ("runner", "train", typed(path)) for path in effects if path.is_file()}
    return tuple(Command(shlex.join(words[path]), effects[path]) for path in words)


def _again(folder: SearchFolder) -> str:
    return shlex.join(("runner", "search", typed(folder.search_file), "--name", f"{folder.root.name[:61]}-2"))


def _write_job(path: Path, space: Space, study: Study, pair: Pair | None) -> None:
    """The job of ``pair``, or no file where there is none."""
    if pair is None:
        path.unlink(missing_ok=True)
    else:
        write_answer_job(path, space, study, pair)

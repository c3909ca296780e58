"""What to type next: the one wording of a run's command lines and of what each does.

Under a summary they stand as lines made here; how a page shows them is ``page_parts``'s.
"""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.config.cluster import Cluster
from runner.report.style import Style
from runner.runs import LoadedRun, RunFolder
from runner.runs.remote.layout import read_origin

RUNS: str = Cluster.model_fields["storage"].default
UNFINISHED = ("stopped", "failed")
_LONGEST_STEM = 60  # letters of a run's name that are kept before the number of the run made again


@dataclass(frozen=True)
class Command:
    """What to type next, and what it does."""

    text: str
    effect: str


def next_commands(run: LoadedRun, *, evaluated: bool) -> tuple[Command, ...]:
    """What to type after ``run`` in its state."""
    folder = run.folder
    if run.summary.state in UNFINISHED:
        return (resume(folder),)
    asking = () if evaluated else (evaluate(folder),)
    return (
        *asking,
        Command(_of_run("generate", folder), "asks it something"),
        Command(_of_run("export", folder), "its weights for other programs"),
    )


def evaluate(folder: RunFolder) -> Command:
    """Measures the run in ``folder``."""
    return Command(_of_run("evaluate", folder), "measures what it can solve, before and after")


def resume(folder: RunFolder) -> Command:
    """Goes on with the unfinished run in ``folder``."""
    words = ["runner", "train", typed(folder.job_file), *storage_words(folder), "--resume", "must"]
    return Command(shlex.join(words), "goes on after the last checkpoint")


def again(folder: RunFolder) -> Command:
    """Trains the job of ``folder`` anew, under a name that no run beside it has yet."""
    names = (f"{folder.name[:_LONGEST_STEM]}-{number}" for number in itertools.count(2))
    free = next(name for name in names if not (folder.root.parent / name).exists())
    words = ["runner", "train", typed(folder.job_file), *storage_words(folder), "--name", free]
    return Command(shlex.join(words), "the run again")


def storage_words(folder: RunFolder) -> tuple[str, ...]:
    """The option by which commands typed here find the run in ``folder``; none where they look by themselves."""
    storage = folder.root.parent
    if (origin := read_origin(folder.root)) is not None:
        return ("--storage", origin.url.rpartition("/")[0])
    return () if storage == Path(RUNS).resolve() else ("--storage", typed(storage))


def typed(path: Path) -> str:
    """``path`` as it is named from here, not yet quoted: relative where it lies below this folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def command_lines(commands: Sequence[Command], style: Style) -> tuple[str, ...]:
    """The commands below each other, what they do beside them; nothing for none."""
    if not commands:
        return ()
    widest = max(len(command.text) for command in commands)
    lines = [f"  {command.text:{widest}}  {style.ink(command.effect, 'quiet')}" for command in commands]
    return ("next", *lines)


def _of_run(verb: str, folder: RunFolder) -> str:
    return shlex.join(["runner", verb, folder.name, *storage_words(folder)])

"""A search as it runs, shown in the terminal: the table of its trials, drawn again where it stands.

Where there is no terminal, a line for each measurement.  What the table shows is ``runner.search.live``'s.
"""

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from runner.cli.ticker import duration
from runner.runs.folder import STOP_FILE

if TYPE_CHECKING:
    from runner.search.folder import SearchFolder
    from runner.search.live import Progress
    from runner.search.records import Study
    from runner.search.space import Space

POLL_S = 0.5
QUIET_S = 30.0  # between two lines of progress where there is no terminal
STOPPING = "stopping: no further step is trained; a second Ctrl-C ends at once"


class Searching:
    """Shows one search; ``follow`` is what ``search`` calls."""

    def __init__(self, space: "Space", stream: TextIO | None = None) -> None:
        self._space = space
        self._stream = stream or sys.stderr
        self._began = self._told_at = time.monotonic()
        self._shown: set[tuple[int, str]] = set()
        self._drawn = 0  # lines of the table that stands above the cursor

    def follow(self, folder: "SearchFolder", study: "Callable[[], Study]", ended: Callable[[], bool]) -> None:
        """Show the study until ``ended()``, its last measurements included."""
        stop_file = folder.inside(STOP_FILE)
        self._new_lines(study())  # measured by an earlier start
        over = stopping = False
        while not over:
            over = ended()
            if not stopping and stop_file.exists():
                stopping = True
                self._say(STOPPING)
            if self._stream.isatty():
                self._draw(study(), folder)
            else:
                self._tell(study(), folder, over=over)
            time.sleep(0.0 if over else POLL_S)

    def _draw(self, study: "Study", folder: "SearchFolder") -> None:
        """The table, in place of the one before."""
        from runner.report import style_of
        from runner.search.live import live_table

        lines = shutil.get_terminal_size().lines - 2
        table = live_table(study, self._progress(study, folder), style_of(self._stream), lines=lines)
        up = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self._stream.write(f"{up}{table}\n")
        self._stream.flush()
        self._drawn = table.count("\n") + 1

    def _tell(self, study: "Study", folder: "SearchFolder", *, over: bool) -> None:
        """New measurements, a line each; after a long silence where training is."""
        for line in self._new_lines(study):
            self._say(line)
        if not over and time.monotonic() - self._told_at > QUIET_S:
            steps = ", ".join(f"{name} at step {step:,}" for name, step in _live(folder).items()) or "starting"
            passed = duration(time.monotonic() - self._began)
            self._say(f"{_ended(study)}/{self._space.search.trials} trials, {steps}, {passed}")

    def _say(self, text: str) -> None:
        """A line that stays; a table before it is drawn anew below."""
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self._told_at, self._drawn = time.monotonic(), 0

    def _progress(self, study: "Study", folder: "SearchFolder") -> "Progress":
        from runner.search.legs import repeats_of
        from runner.search.live import Progress

        search, live, tokens = self._space.search, _live(folder), self._space.job.train.tokens_per_step
        trials = {name: step for name, step in live.items() if "seed" not in name}
        return Progress(
            objective=search.objective,
            stop_steps=search.stop_steps,
            trials=search.trials,
            at_once=max(len(live), 1),
            elapsed_s=time.monotonic() - self._began,
            keys=tuple(search.space),
            steps={int(name.partition("-")[2]): step for name, step in trials.items()},
            repeating=max(0, repeats_of(search) - len(study.repeats) - len(study.lost)),
            expected_tokens=tokens * (self._space.expected_steps(study.trials[0].values) if study.trials else 0),
            repeat_tokens=tokens * search.stop_steps[-1],
        )

    def _new_lines(self, study: "Study") -> list[str]:
        """Lines for what was measured or ended since the last call."""
        from runner.search.proposals import loss_of
        from runner.search.wording import configuration

        lines = []
        for trial in study.trials:
            told = f"trial {trial.number:>3}  {configuration(trial.values)}"
            for rung in trial.rungs:
                for measured in (*rung.stable, rung):
                    how = "" if measured is rung else " without a decay"
                    if self._first_time(trial.number, f"{measured.stop_step}{how}"):
                        loss = loss_of(measured, self._space.search.objective)
                        lines.append(f"{told}  stop step {measured.stop_step:>6,}  loss {loss:.4f}{how}")
            ending = f"{'held back' if trial.ending == 'stopped' else trial.ending}: {trial.why}"
            if trial.ending and trial.ending != "finished" and self._first_time(trial.number, ending):
                lines.append(f"{told}  {ending}")
        for repeat in study.repeats:
            if self._first_time(repeat.trial, f"seed {repeat.seed} {repeat.rung.stop_step} {repeat.decayed}"):
                loss = loss_of(repeat.rung, self._space.search.objective)
                lines.append(f"trial {repeat.trial:>3} again with seed {repeat.seed}  loss {loss:.4f}")
        for lost in study.lost:
            if self._first_time(lost.trial, f"seed {lost.seed} {lost.stop_step} {lost.decayed}"):
                lines.append(f"trial {lost.trial:>3} again with seed {lost.seed}  {lost.ending}: {lost.why}")
        return lines

    def _first_time(self, trial: int, what: str) -> bool:
        new = (trial, what) not in self._shown
        self._shown.add((trial, what))
        return new


def _ended(study: "Study") -> int:
    return sum(trial.ending is not None for trial in study.trials)


def _live(folder: "SearchFolder") -> Mapping[str, int]:
    """The step that each running task has reached, by its name; one that ends meanwhile is left out."""
    from runner.search.worker import LIVE

    steps: dict[str, int] = {}
    for path in sorted((folder.root / LIVE).glob("*")):
        try:
            steps[path.name] = int(path.read_text())
        except (OSError, ValueError):
            continue
    return steps

"""A search from its folder to its answer: started or gone on with, shown, stopped on a signal, concluded.

What runs next is ``course``'s, running it ``tuning``'s, what follows from the measurements ``answer``'s.
"""

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from runner.config.cluster import Cluster
from runner.distributed.launch import RAY_FOLDER, with_absolute_paths
from runner.distributed.ray_session import living_nodes, nodes_here, ray_session
from runner.distributed.signals import StopSignals
from runner.distributed.worker import TRACE_FILE
from runner.errors import Diverged, DoesNotFit, Interrupted, RunnerError, TrainingFailed
from runner.runs.folder import STOP_FILE
from runner.search.answer import Answer
from runner.search.bucket import open_kept_search
from runner.search.conclusion import conclude
from runner.search.costs import Costs
from runner.search.course import Course
from runner.search.folder import OpenSearch, SearchFolder
from runner.search.journal import study_in
from runner.search.records import Study
from runner.search.share import share_out
from runner.search.space import Space
from runner.search.verdict import ENDINGS
from runner.search.wording import counted
from runner.search.worker import LIVE, Place

if TYPE_CHECKING:
    from runner.search.trainable import SearchTrainable

Ending: TypeAlias = Literal["finished", "time budget", "SIGTERM", "SIGINT"]
Follow: TypeAlias = Callable[[SearchFolder, Callable[[], Study], Callable[[], bool]], None]


@dataclass(frozen=True)
class Request:
    """What to search, where, and whether to go on with what is there."""

    space: Space
    cluster: Cluster
    storage: str  # a folder, or the URL of a bucket
    cache: Path
    resume: bool
    trainable: "type[SearchTrainable] | None" = None  # None: the real one


@dataclass(frozen=True)
class SearchOutcome:
    """A search's folder, what it measured, and how it ended; ``finished_before`` when nothing was left to do.

    ``place`` is where it is kept: the folder, or its URL in a bucket, of which the folder is a copy.
    """

    folder: SearchFolder
    place: str
    space: Space
    study: Study
    answer: Answer
    ending: Ending
    finished_before: bool = False


def search(request: Request, *, follow: Follow) -> SearchOutcome:
    """Search to the end, to the time budget, or to SIGTERM or Ctrl-C; the answer of all trials so far is written.

    ``follow(folder, study, ended)`` is called in a thread to show the study until ``ended()``.  A second Ctrl-C
    raises ``Interrupted`` at once.  Raises the ``RunnerError`` that no trial would escape, and that of the first trial
    when all is done and nothing was measured.
    """
    space = replace(request.space, job=with_absolute_paths(request.space.job))
    kept = request.storage, space
    patience_s = request.cluster.storage_patience_s
    with open_kept_search(*kept, resume=request.resume, cache=request.cache, patience_s=patience_s) as opened:
        if opened.finished:
            study = study_in(opened.journal.events)
            answer = conclude(opened.folder, space, study)
            outcome = SearchOutcome(opened.folder, opened.place, space, study, answer, "finished", finished_before=True)
        else:
            outcome = _searched(replace(request, space=space), opened, follow)
    if outcome.ending == "finished" and outcome.answer.best is None:
        raise _nothing_measured(outcome)
    return outcome


def _searched(request: Request, opened: OpenSearch, follow: Follow) -> SearchOutcome:
    """Run everything on Ray, and write what came of it before Ray is shut down, which may fail after a signal."""
    stop_file = opened.folder.inside(STOP_FILE)
    opened.folder.inside(TRACE_FILE)  # raises where a link leads out: better here than in a trial
    stop_file.unlink(missing_ok=True)
    _clear(opened.folder)
    cluster = request.cluster.model_copy(update={"min_workers": None})
    # Ray takes SIGTERM for itself when it starts: ours must come after
    with ray_session(cluster), StopSignals(stop_file) as signals:
        try:
            course = _run(replace(request, cluster=cluster), opened, follow, signals)
        except Interrupted as error:
            _record(opened, request.space, study_in(opened.journal.events), "stopped", str(error))
            raise
        except RunnerError as error:
            study = study_in(opened.journal.events)
            _conclude_all_the_same(opened.folder, request.space, study)
            _record(opened, request.space, study, "failed", str(error))
            raise
        named: dict[str | None, Ending] = {"SIGTERM": "SIGTERM", "SIGINT": "SIGINT"}
        ending = "finished" if course.is_over else named.get(signals.name, "time budget")
        study = course.study
        answer = conclude(opened.folder, request.space, study)
        _record(opened, request.space, study, "finished" if ending == "finished" else "stopped", ending)
        _clear(opened.folder)
        return SearchOutcome(opened.folder, opened.place, request.space, study, answer, ending)


def _conclude_all_the_same(folder: SearchFolder, space: Space, study: Study) -> None:
    """The answer of what was measured before the search failed; what fails here, too, must not hide why it did."""
    if any(trial.rungs for trial in study.trials):
        with suppress(RunnerError, OSError):
            conclude(folder, space, study)


def _nothing_measured(outcome: SearchOutcome) -> RunnerError:
    """What to tell of a search that is over and has no answer: how its first trial ended."""
    trials = outcome.study.trials
    assert trials[0].ending is not None, "a search is over when all its trials have ended"
    kinds: dict[str, type[RunnerError]] = {"infeasible": DoesNotFit, "diverged": Diverged}
    how = f"{ENDINGS[trials[0].ending]}: {trials[0].why}"
    return kinds.get(trials[0].ending, TrainingFailed)(
        f"nothing was measured in {counted(len(trials), 'trial')}; the first {how}",
        outcome.place,
        "change the search or its job, and give it another name with --name",
    )


def _run(request: Request, opened: OpenSearch, follow: Follow, signals: StopSignals) -> Course:
    """The course as far as it came on the Ray that has been started or joined."""
    from runner.search.tuning import Setting, device_of_trials, tune_course

    space, folder, cluster = request.space, opened.folder, request.cluster
    minutes = space.search.time_budget_minutes
    deadline = None if minutes is None else time.monotonic() + 60.0 * minutes
    opened.check_seen(living_nodes())
    share = share_out(space.search, cluster, nodes_here())
    place = Place(
        folder=str(folder.root),
        stop_file=str(signals.stop_file),
        cache=str(request.cache.expanduser().resolve()),
        threads=share.cpus,
        gpus=share.gpus,
        gpu_memory_gib=cluster.gpu_memory_gib,
        workers=share.workers,
    )
    latest = _Latest(study_in(opened.journal.events), opened.grown)
    course = Course(space, Costs(device_of_trials(place)), opened.journal, latest.told)
    setting = Setting(place, share, deadline, *(() if request.trainable is None else (request.trainable,)))
    with _shown(folder, latest, follow):
        tune_course(course, setting, lambda: _watch(opened, signals))
    return course


def _clear(folder: SearchFolder) -> None:
    """Remove what is only of use while trials run; a start that was killed leaves it behind."""
    for name in (RAY_FOLDER, LIVE):
        shutil.rmtree(folder.inside(name), ignore_errors=True)


class _Latest:
    """The study as it is now, for a thread that shows it; ``grown`` is called whenever it is another."""

    def __init__(self, study: Study, grown: Callable[[], None]) -> None:
        self.study, self._grown = study, grown

    def told(self, study: Study) -> None:
        self.study = study
        self._grown()


class _shown:  # noqa: N801 - read as a word of the with statement
    """Shows the study in a thread while the block runs, and its end after it."""

    def __init__(self, folder: SearchFolder, latest: _Latest, follow: Follow) -> None:
        self._over = threading.Event()
        arguments = folder, lambda: latest.study, self._over.is_set
        self._thread = threading.Thread(target=follow, args=arguments, name="progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5.0)


def _watch(opened: OpenSearch, signals: StopSignals) -> None:
    """After a second Ctrl-C nothing is waited for; where nothing can be kept any more nothing more is trained."""
    if opened.must_stop:
        signals.stop_file.touch()
    try:
        signals.raise_if_repeated()
    except Interrupted:
        raise Interrupted(
            "ended at once", opened.place, "the journal has all that was measured; go on with --resume"
        ) from None


def _record(
    opened: OpenSearch, space: Space, study: Study, state: Literal["finished", "stopped", "failed"], reason: str
) -> None:
    ended = sum(trial.ending is not None for trial in study.trials)
    opened.record(state, done=ended, trials=space.search.trials, reason=reason)

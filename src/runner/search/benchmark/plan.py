"""What the benchmark compares: the ways of searching, the space, the runs of it that are timed one by one.

Running them is ``fresh``'s and ``runner search``'s.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from runner.config.cluster import Cluster, load_cluster
from runner.config.job import Job
from runner.config.load_search import LoadedSearch, load_search
from runner.distributed.launch import with_absolute_paths
from runner.errors import UserError
from runner.runs.durable import write_file
from runner.search.folder import search_values
from runner.search.proposals import propose
from runner.search.records import Value
from runner.search.space import Space, space_of

Way = Literal["separate", "asha", "curve", "resident", "pairs", "decay", "again"]
WAYS: tuple[Way, ...] = get_args(Way)
"""How the space is searched.

separate: each configuration and stop step is a run of a process of its own; some are timed, the rest follows.
asha: Ray Tune and ASHA, a fresh process for each trial, the stop step one more parameter.
curve: Ray Tune and ASHA, a fresh process for each trial, the stop step read off its validation curve.
resident: ``runner search``.
pairs: every pair of ``separate`` by trunks on a resident base; says what ``separate`` would find, and is not timed.
decay: the best configuration of ``resident`` once by its curve, to show what ending with a decay gains.
again: what ``curve`` and ``resident`` found lowest at each stop step, trained with other seeds: a configuration of the
curve as all of ``curve`` is, its loss read off at that step, one of ``resident`` as it says.  The lowest of many losses
is so by luck too; these are what the answers are worth.  It is not timed either, and as many of its runs go on at once
as the cluster has room for.
"""
DEMO: Mapping[str, object] = {
    "trials": 24,
    "stop_steps": [25, 50, 75, 100, 125, 150, 175, 200],
    "space.lora.rank": {"choices": [2, 4, 8, 16]},
    "space.train.learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
}
"""What the benchmark searches where no search file is named: the demo in 24 configurations and 8 stop steps."""


@dataclass(frozen=True)
class Pair:
    """One run of ``separate``."""

    configuration: int
    values: Mapping[str, Value]
    stop_step: int
    seed: int | None = None  # None: the job's own
    decayed: bool = True  # it ends with a decay


@dataclass(frozen=True)
class Plan:
    """A benchmark in its folder ``root``, which has all of it in files."""

    root: Path
    space: Space
    cluster: Cluster
    cluster_file: Path | None
    cache: Path
    timed: int  # runs of ``separate`` that are timed for each stop step
    minutes: float | None = None  # after which a way ends with what it has; None: never
    seeds: int = 2  # with which each pair of ``again`` is trained

    @property
    def search_file(self) -> Path:
        """The search that every way does."""
        return self.root / "search.yaml"

    @property
    def validation_every(self) -> int:
        """Steps between validations where every stop step must be met."""
        return reduce(math.gcd, self.space.search.stop_steps)

    def runs_file(self, way: Way) -> Path:
        """The runs of a way that starts fresh processes."""
        return self.root / f"{way}-runs.json"

    def wall_file(self, way: Way) -> Path:
        """The seconds that ``way`` took; there once it is done."""
        return self.root / f"{way}.json"

    def configurations(self) -> list[Mapping[str, Value]]:
        """Those of ``separate``, drawn at random by the search's seed, and no others than random search proposes."""
        search = self.space.search.model_copy(update={"sampler": "random"})
        space = Space(search, self.space.job)
        return [propose(space, (), number).values for number in range(search.trials)]

    def timed_pairs(self) -> tuple[Pair, ...]:
        """The runs of ``separate`` that are timed: for each stop step so many configurations, drawn by the seed.

        Every stop step comes once before any comes again.
        """
        configurations, stops = self.configurations(), self.space.search.stop_steps
        drawn = random.Random(self.space.search.seed)
        count = min(self.timed, len(configurations))
        numbers = {stop: drawn.sample(range(len(configurations)), count) for stop in stops}
        rounds = ((turn, stop) for turn in range(count) for stop in drawn.sample(stops, len(stops)))
        return tuple(Pair(numbers[stop][turn], configurations[numbers[stop][turn]], stop) for turn, stop in rounds)

    @property
    def best_file(self) -> Path:
        """The best configuration of ``resident``, for ``decay``."""
        return self.root / "best-values.json"

    @property
    def answers_file(self) -> Path:
        """The pairs of ``again``, each once."""
        return self.root / "answers.json"

    def answers_again(self) -> tuple[Pair, ...]:
        """The runs of ``again``: every pair with each seed, seeds that no way has used."""
        pairs = [
            Pair(number, each["values"], each["stop_step"], decayed=each["decayed"])
            for number, each in enumerate(_read(self.answers_file))
        ]
        first = self.space.job.train.seed + 1
        return tuple(replace(pair, seed=seed) for seed in range(first, first + self.seeds) for pair in pairs)

    def longest_of_best(self) -> Pair:
        """The run of ``decay``."""
        return Pair(0, _read(self.best_file), self.space.search.stop_steps[-1])

    def job_of(self, pair: Pair, *, every: int) -> Job:
        """The job of one run: only what training needs, the held-out loss every so many steps and at the end."""
        job = self.space.ending_at(pair.values, pair.stop_step, decayed=pair.decayed)
        quiet = {
            "evaluation": job.evaluation.model_copy(update={"questions": 0}),
            "validation": job.validation.model_copy(update={"every": every}),
            "checkpoint": job.checkpoint.model_copy(update={"every": pair.stop_step}),
            "train": job.train.model_copy(update={} if pair.seed is None else {"seed": pair.seed}),
            "track": (),
        }
        return job.model_copy(update=quiet)


@dataclass(frozen=True)
class Options:
    """How a benchmark is made, beside its search; ``minutes``, ``timed`` and ``seeds`` as in ``Plan``."""

    cluster_file: Path | None
    cache: Path
    timed: int
    minutes: float | None = None
    seeds: int = 2


def make_plan(root: Path, loaded: LoadedSearch, options: Options) -> Plan:
    """The plan of ``loaded`` in ``root``, written there: one trial at a time, nothing repeated, in every way.

    ``UserError`` where another search is compared in ``root``.
    """
    search = loaded.search.model_copy(update={"repeats": 0, "concurrency": 1, "time_budget_minutes": None})
    space = space_of(LoadedSearch(search, with_absolute_paths(loaded.job)))
    file = None if options.cluster_file is None else options.cluster_file.resolve()
    plan = Plan(root, space, load_cluster(file, {}), file, options.cache, options.timed, options.minutes, options.seeds)
    root.mkdir(parents=True, exist_ok=True)
    _write_once(root / "job.yaml", space.job.model_dump(mode="json"))
    _write_once(plan.search_file, search_values(space.search))
    plain = {"cluster": None if file is None else str(file), "cache": str(options.cache)}
    limits = {"timed": options.timed, "minutes": options.minutes, "seeds": options.seeds}
    write_file(root / "options.json", json.dumps({**plain, **limits}).encode())
    return plan


def read_plan(root: Path) -> Plan:
    """The plan that was made in ``root``."""
    options = json.loads((root / "options.json").read_text())
    file = None if options["cluster"] is None else Path(options["cluster"])
    space = space_of(load_search(root / "search.yaml"))
    limits = {key: options[key] for key in ("timed", "minutes", "seeds")}
    return Plan(root, space, load_cluster(file, {}), file, Path(options["cache"]), **limits)


def demo_overrides(overrides: Sequence[str]) -> list[str]:
    """The demo search as the benchmark does it; what ``overrides`` says comes last."""
    return [*(f"{key}={json.dumps(value)}" for key, value in DEMO.items()), *overrides]


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _write_once(path: Path, values: Mapping[str, object]) -> None:
    """Write ``path``, or find it written with the same ``values``."""
    content = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True).encode()
    if path.is_file() and path.read_bytes() != content:
        raise UserError("another search was begun here", str(path), "give this one another folder with --folder")
    write_file(path, content)


@dataclass(frozen=True)
class Run:
    """One run of a way: what it trained and measured."""

    values: Mapping[str, Value]
    stop_step: int
    trained_steps: int
    losses: tuple[tuple[int, float], ...]  # held-out, by step
    seconds: float  # from the asking for its process to its end
    cut: bool = False  # the minutes were over before it ended
    seed: int | None = None  # None: the job's own
    decayed: bool = True

    @property
    def last(self) -> float | None:
        """The loss at its end, if it got there."""
        return self.at(self.stop_step)

    def at(self, step: int) -> float | None:
        """The loss at ``step``, if it was measured."""
        return dict(self.losses).get(step)


def runs_as_plain(runs: Sequence[Run]) -> list[dict[str, object]]:
    """``runs`` as JSON has them."""
    return [{**asdict(run), "losses": [list(point) for point in run.losses]} for run in runs]


def runs_of(plain: Sequence[Mapping[str, Any]]) -> list[Run]:
    """The runs that ``runs_as_plain`` told."""
    return [Run(**{**run, "losses": tuple((int(step), float(loss)) for step, loss in run["losses"])}) for run in plain]

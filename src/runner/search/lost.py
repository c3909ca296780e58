"""What repeats that measured nothing say of the configurations that an answer stands on, in plain words.

That such a repeat ends no search is ``course``'s.
"""

from collections.abc import Iterator

from runner.search.findings import Findings
from runner.search.pairs import Pair
from runner.search.records import LostRepeat, Study
from runner.search.verdict import ENDINGS
from runner.search.wording import listed, spoken


def of_lost_repeats(study: Study, found: Findings) -> Iterator[str]:
    """A sentence for every pair of which repeats were lost in one way; a warning where it is the best."""
    groups: dict[tuple[int, int, bool, str], list[int]] = {}
    for lost in study.lost:
        groups.setdefault((*_pair(lost), lost.ending), []).append(lost.seed)
    best = None if found.best is None else _pair(found.best)
    for (trial, stop_step, decayed, ending), seeds in groups.items():
        with_seeds = ("seed " if len(seeds) == 1 else "seeds ") + listed([str(seed) for seed in seeds])
        step = f"step {stop_step:,}" + ("" if decayed else " without a decay")
        warning = ", which may happen to a run of the best, too" if (trial, stop_step, decayed) == best else ""
        what = f"{spoken(study.trials[trial].values)} {ENDINGS[ending]}"
        yield f"Trained again with {with_seeds} to {step}, {what}{warning}."


def _pair(which: LostRepeat | Pair) -> tuple[int, int, bool]:
    return which.trial, which.stop_step, which.decayed

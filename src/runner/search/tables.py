"""The tables of a search's page as HTML: what each stop step costs, seeds, every pair.

Where they stand is ``page``'s.
"""

from collections.abc import Sequence

from runner.report.table import Cell, table
from runner.search.answer import Answer
from runner.search.pairs import Pair
from runner.search.records import Study, Trial
from runner.search.verdict import ENDINGS
from runner.search.wording import configuration, ending, gap, loss, number, short_names, span


def stops_table(answer: Answer) -> str:
    """The lowest loss of each stop step, how far it lies behind the best, and what it takes."""
    rows = []
    for behind in answer.by_stop_step:
        pair, apart = behind.pair, behind.apart
        error = "" if apart.standard_error is None or pair == answer.best else f" ± {gap(2 * apart.standard_error)}"
        cells = (
            Cell(ending(pair), pair.stop_step),
            Cell(loss(pair.loss), pair.loss),
            Cell("" if pair == answer.best else f"{gap(apart.nats)}{error}", apart.nats),
            Cell(span(pair.minutes), pair.minutes),
            Cell(configuration(pair.values)),
        )
        rows.append((_ink(answer, pair), cells))
    headings = ("stop step", "lowest loss", "behind the best ± 2 s.e.", "training", "with")
    return table("What each stop step gives and takes", headings, rows)


def seeds_table(answer: Answer) -> str:
    """The losses of the repeated pairs, seed by seed; empty when nothing was repeated."""
    if answer.noise is None:
        return ""
    rows = []
    for group in answer.noise.seeds:
        pair = next(p for p in answer.pairs if (p.trial, p.stop_step) == (group.trial, group.stop_step))
        each = ", ".join(loss(found) for found in group.losses)
        what = f"{configuration(pair.values)}, step {ending(pair)}"
        rows.append((_ink(answer, pair), (Cell(what), Cell(loss(group.mean), group.mean), Cell(each))))
    return table("Trained again with other seeds", ("pair", "mean loss", "each seed's loss"), rows)


def pairs_table(study: Study, answer: Answer) -> str:
    """Every pair that was measured, and the trials of which none was."""
    names = short_names(answer.keys)
    tokens = {
        (trial.number, each.stop_step, each is rung): rung.trained_tokens
        for trial in study.trials
        for rung in trial.rungs
        for each in (*rung.stable, rung)
    }
    endings = {trial.number: trial.ending or "running" for trial in study.trials}
    rows: list[tuple[str, Sequence[Cell]]] = []
    for pair in answer.pairs:
        trained = tokens[pair.trial, pair.stop_step, pair.decayed]
        cells = (
            Cell(str(pair.trial), pair.trial),
            *_values(pair, answer),
            Cell(ending(pair), pair.stop_step),
            Cell(loss(pair.loss), pair.loss),
            Cell(span(pair.minutes), pair.minutes),
            Cell(f"{trained:,}", trained),
            Cell(ENDINGS[endings[pair.trial]]),
        )
        rows.append((_ink(answer, pair), cells))
    measured = {pair.trial for pair in answer.pairs}
    rows += [("lost", _lost(trial, answer)) for trial in study.trials if trial.number not in measured]
    keys = (names[key] for key in answer.keys)
    headings = ("trial", *keys, "stop step", "loss", "training", "tokens so far", "the trial")
    return table(f"All {len(answer.pairs):,} measured pairs", headings, rows)


def _values(pair: Pair | Trial, answer: Answer) -> list[Cell]:
    found = [pair.values.get(key, "") for key in answer.keys]
    return [Cell(number(value), float(value) if isinstance(value, int | float) else None) for value in found]


def _lost(trial: Trial, answer: Answer) -> list[Cell]:
    words = ENDINGS[trial.ending or "running"] + (f": {trial.why}" if trial.why else "")
    return [Cell(str(trial.number), trial.number), *_values(trial, answer), *[Cell("")] * 4, Cell(words)]


def _ink(answer: Answer, pair: Pair) -> str:
    return "best" if pair == answer.best else "early" if pair == answer.earliest else ""

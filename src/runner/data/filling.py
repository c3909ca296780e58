"""Which rows fill the validation and the training split, whatever reads the rows and wherever they are written.

Reading is left to ``documents`` and ``whole``, writing to ``shards``, the story to ``prepare``.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.config.job import Data
from runner.data.catalogue import Catalogue
from runner.data.choice import candidates
from runner.data.documents import NOT_CHOSEN, EncodesRows, Filled, Filling, SplitFiller, TakesDocuments, Tally
from runner.errors import UserError

IN_HELD_OUT = "its question is in the validation split"

Advance = Callable[[str, int, int], None]
Open = Callable[[str], AbstractContextManager[TakesDocuments]]


@dataclass(frozen=True)
class Candidature:
    """Rows that are described, and who tokenises them; answers over ``largest_bytes`` are taken as too long.

    ``own_split``: the set has a validation split of its own.
    """

    data: Data
    catalogue: Catalogue
    reader: EncodesRows
    largest_bytes: int
    own_split: bool

    def tally(self) -> Tally:
        """Of no row chosen yet."""
        return Tally([self.catalogue.faults.get(row, NOT_CHOSEN) for row in range(len(self.catalogue.group_of_row))])


def fill_both(work: Candidature, tally: Tally, opened: Open, advance: Advance) -> tuple[Filled, Filled]:
    """What the training and the validation split took; each goes to ``opened(its name)``, its rows into ``tally``.

    Validation is filled first, so that it is free of data.questions.
    """
    groups, held_out = work.catalogue.group_of_row, work.catalogue.held_out
    usable = groups >= 0
    _refuse_if_all_held_out(work)
    held = Filling("validation", work.data.validation_questions, 1, work.largest_bytes)

    def fill(filling: Filling, eligible: NDArray[np.bool_]) -> Filled:
        order = candidates(groups, work.catalogue.stratum_of_group, eligible, work.data.seed)
        filler = SplitFiller(filling, order, work.catalogue, work.reader, tally)
        with opened(filling.split) as writer:
            return filler.fill(writer, lambda done, total: advance(filling.split, done, total))

    validation = fill(held, usable & held_out if work.own_split else usable)
    if work.own_split:
        shut = np.isin(groups, groups[usable & held_out]) & ~held_out & usable
        for row in np.flatnonzero(shut):
            tally.fates[row] = IN_HELD_OUT
    else:
        shut = np.isin(groups, list(validation.kept | validation.lost))
    wanted = work.data.questions or work.catalogue.groups
    filling = Filling("train", wanted, work.data.rows_per_question, work.largest_bytes)
    return fill(filling, usable & ~shut & ~held_out), validation


def _refuse_if_all_held_out(work: Candidature) -> None:
    groups, asked = work.catalogue.groups, work.data.validation_questions
    if not work.own_split and groups and groups <= asked:
        raise UserError(
            f"data.validation_questions is {asked:,} and the data set has {groups:,} questions: none is left to train",
            f"{work.data.id} split {work.data.split}",
            f"set it to {max(1, groups // 10):,}, or name a data.validation_split",
        )

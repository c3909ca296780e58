"""How much each searched key decides whether a loss is among the best.

It is PED-ANOVA's figure as Optuna computes it; which losses there are is ``pairs``'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from runner.search.pairs import Pair
from runner.search.space import STOP_STEP

FEWEST_PAIRS = 20  # five among the best, the fewest that Optuna advises
QUANTILE = 0.25  # part of all pairs that counts as the best
METHOD = f"PED-ANOVA (arXiv:2304.10255): what sets the best {QUANTILE:.0%} of the pairs apart from all of them"


@dataclass(frozen=True)
class Importance:
    """One key's share of what decides; all shares add up to 1."""

    key: str  # of the job file, or stop_step
    share: float


def importance_of(
    pairs: Sequence[Pair], distributions: Mapping[str, BaseDistribution]
) -> tuple[Importance, ...] | None:
    """The share of every key and of the stop step, the largest first; None for fewer than ``FEWEST_PAIRS``.

    The best pairs are held against all that were measured, not against the whole space, so a key is not important
    because the search looked at some of its values more often.  Nothing in it is random.  None, too, where the best
    do not differ from the others in any key.
    """
    if len(pairs) < FEWEST_PAIRS or len({pair.loss for pair in pairs}) < 2:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.add_trials(
        create_trial(
            value=pair.loss,
            params={**pair.values, STOP_STEP: pair.stop_step},
            distributions=dict(distributions),
        )
        for pair in pairs
    )
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=QUANTILE))
    if not sum(found.values()) > 0:
        return None
    shares = [Importance(key, float(found.get(key, 0.0))) for key in distributions]
    return tuple(sorted(shares, key=lambda importance: (-importance.share, importance.key)))

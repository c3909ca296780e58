"""Problems put together as a suite, with the fingerprint of all of them.

Where the problems come from is left to the readers.
"""

import hashlib
from collections.abc import Mapping, Sequence

from runner.evaluation.problems import Problem, Suite, SuiteFormat


def assembled(
    name: str,
    form: SuiteFormat,
    problems: Sequence[Problem],
    *,
    source: str,
    skipped: Mapping[str, int] | None = None,
    weak: bool = False,
) -> Suite:
    """The suite of ``problems`` in their order; any change of any of them changes its fingerprint."""
    return Suite(
        name=name,
        format=form,
        problems=tuple(problems),
        fingerprint=hashlib.sha256("\0".join(map(repr, problems)).encode()).hexdigest()[:16],
        source=source,
        weak=weak,
        skipped=tuple(sorted((skipped or {}).items())),
    )

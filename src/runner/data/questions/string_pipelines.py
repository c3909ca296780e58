"""Family: a text goes through one to four operations, some of them on its words, and may be measured.

The operations themselves are in ``text_operations``.
"""

from random import Random

from runner.data.questions.pipeline import Chain, extend
from runner.data.questions.text_operations import JOINS, MEASURES, SPLITS, TEXT, WORDS

DEPTHS = (1, 2, 2, 3, 3, 3, 4)
MEASURED = 0.25  # part of the chains that end with a number or lengths
CHANGES = (*TEXT, *SPLITS * 8, *WORDS, *JOINS)  # splitting is drawn eight times as often as another step


def draw(random: Random) -> Chain:
    """A chain of text and word operations."""
    depth = random.choice(DEPTHS)
    measured = depth > 1 and random.random() < MEASURED
    chain: Chain = ()
    for _ in range(depth - measured):
        kind = chain[-1].operation.gives if chain else "text"
        chain = extend(random, chain, CHANGES, kind)
    if measured:
        chain = extend(random, chain, MEASURES, chain[-1].operation.gives)
    return chain

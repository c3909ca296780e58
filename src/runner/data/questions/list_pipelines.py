"""Family: a list of numbers goes through one to four operations, and may be reduced to one number.

The operations themselves are in ``number_operations``.
"""

from random import Random

from runner.data.questions.number_operations import NUMBERS, REDUCTIONS, SINGLE
from runner.data.questions.pipeline import Chain, extend

DEPTHS = (1, 2, 2, 3, 3, 3, 4)


def draw(random: Random) -> Chain:
    """A chain of list operations; a third of the deeper ones end with a number, some go on with it."""
    depth = random.choice(DEPTHS)
    on_number = random.choice((0, 0, 1, 1, 2)) if depth > 1 else 0
    chain: Chain = ()
    for _ in range(max(1, depth - on_number)):
        chain = extend(random, chain, NUMBERS, "numbers")
    if on_number:
        chain = extend(random, chain, REDUCTIONS, "numbers")
    if on_number == 2 and depth > 2:
        chain = extend(random, chain, SINGLE, "number")
    return chain

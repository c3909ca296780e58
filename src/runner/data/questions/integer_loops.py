"""Family: a loop over the numbers that come from n, with a condition, a change and something it fills.

What may follow the loop is in ``number_operations``; code and wording of chains are written elsewhere.
"""

from functools import reduce
from operator import xor
from random import Random

from runner.data.questions.number_operations import SINGLE
from runner.data.questions.operation import Operation, each
from runner.data.questions.pipeline import Chain, extend

SOURCES = (
    Operation(
        "loop-up",
        "n",
        "i",
        "go through i from 1 to n",
        "for i in range(1, n + 1):",
        lambda n: list(range(1, n + 1)),
        ("walk over the numbers 1 to n", "take every whole number from 1 up to n"),
    ),
    Operation(
        "loop-below",
        "n",
        "i",
        "go through i from 0 to n minus 1",
        "for i in range(n):",
        lambda n: list(range(n)),
        ("walk over the numbers 0 to n minus 1", "take every whole number below n"),
    ),
    Operation(
        "loop-down",
        "n",
        "i",
        "go through i from n down to 1",
        "for i in range(n, 0, -1):",
        lambda n: list(range(1, n + 1))[::-1],
        ("walk from n down to 1", "count down from n to 1"),
    ),
    Operation(
        "loop-multiples",
        "n",
        "i",
        "go through the multiples of {a} up to n",
        "for i in range({a}, n + 1, {a}):",
        lambda n, a: [i for i in range(1, n + 1) if i % a == 0],
        ("walk over the numbers {a} divides up to n", "take every {a}th number up to n"),
        each(2, 3, 4, 5),
    ),
    Operation(
        "loop-digits",
        "n",
        "i",
        "go through the digits of n",
        "for i in map(int, str(n)):",
        lambda n: ([n // 10] if n > 9 else []) + [n % 10],
        ("walk over the decimal digits of n", "take every digit of n"),
    ),
    Operation(
        "loop-divisors",
        "n",
        "i",
        "go through the divisors of n",
        "for i in [d for d in range(1, n + 1) if n % d == 0]:",
        lambda n: [d for d in range(1, n + 1) if n // d * d == n],
        ("walk over the numbers that divide n", "take every divisor of n"),
    ),
)
FILTERS = (
    Operation(
        "if-even",
        "i",
        "i",
        "only if it is even",
        "if i % 2 == 0:",
        lambda stream: [i for i in stream if not i & 1],
        ("skip it if it is odd", "use only even ones"),
        slips=("if i % 2 == 1:",),
    ),
    Operation(
        "if-odd",
        "i",
        "i",
        "only if it is odd",
        "if i % 2 == 1:",
        lambda stream: [i for i in stream if i & 1],
        ("skip it if it is even", "use only odd ones"),
        slips=("if i % 2 == 0:",),
    ),
    Operation(
        "if-greater",
        "i",
        "i",
        "only if it is greater than {a}",
        "if i > {a}:",
        lambda stream, a: list(filter(a.__lt__, stream)),
        ("skip it up to {a}", "use only those above {a}"),
        each(*range(1, 8)),
        ("if i < {a}:", "if i >= {a}:"),
    ),
    Operation(
        "if-less",
        "i",
        "i",
        "only if it is less than {a}",
        "if i < {a}:",
        lambda stream, a: list(filter(a.__gt__, stream)),
        ("skip it from {a} on", "use only those below {a}"),
        each(*range(3, 10)),
        ("if i > {a}:", "if i <= {a}:"),
    ),
    Operation(
        "if-divisible",
        "i",
        "i",
        "only if {a} divides it",
        "if i % {a} == 0:",
        lambda stream, a: [i for i in stream if i // a * a == i],
        ("skip it unless it is divisible by {a}", "use only multiples of {a}"),
        each(3, 4, 5, 6, 7),
        ("if i % {a} != 0:", "if i % {a} == 1:"),
    ),
    Operation(
        "if-not-divisible",
        "i",
        "i",
        "only if {a} does not divide it",
        "if i % {a} != 0:",
        lambda stream, a: [i for i in stream if i // a * a != i],
        ("skip it if it is divisible by {a}", "use no multiples of {a}"),
        each(3, 4, 5, 6, 7),
        ("if i % {a} == 0:",),
    ),
)
TERMS = (
    Operation(
        "term-square",
        "i",
        "i",
        "square it",
        "i = i * i",
        lambda stream: [abs(i) ** 2 for i in stream],
        ("multiply it by itself", "use its square"),
        slips=("i = i + i",),
    ),
    Operation(
        "term-double",
        "i",
        "i",
        "double it",
        "i = i + i",
        lambda stream: [2 * i for i in stream],
        ("take it twice", "use two times it"),
        slips=("i = i * i",),
    ),
    Operation(
        "term-add",
        "i",
        "i",
        "add {a} to it",
        "i = i + {a}",
        lambda stream, a: [a - -i for i in stream],
        ("increase it by {a}", "use it plus {a}"),
        each(*range(1, 10)),
        ("i = i - {a}", "i = i * {a}"),
    ),
    Operation(
        "term-multiply",
        "i",
        "i",
        "multiply it by {a}",
        "i = i * {a}",
        lambda stream, a: [sum([i] * a) for i in stream],
        ("scale it by {a}", "use {a} times it"),
        each(*range(3, 10)),
        ("i = i + {a}",),
    ),
    Operation(
        "term-remainder",
        "i",
        "i",
        "take it modulo {a}",
        "i = i % {a}",
        lambda stream, a: [i - i // a * a for i in stream],
        ("use its remainder after division by {a}", "reduce it modulo {a}"),
        each(*range(2, 10)),
        ("i = i // {a}",),
    ),
)
FOLDS = (
    Operation(
        "fold-sum",
        "i",
        "number",
        "add it to the total",
        "number += i",
        lambda stream: sum(stream[::-1]),
        ("sum it up", "keep the sum"),
        slips=("number = i", "number += 1"),
        start="number = 0",
    ),
    Operation(
        "fold-count",
        "i",
        "number",
        "count it",
        "number += 1",
        len,
        ("raise the count by one", "keep the count"),
        slips=("number += i",),
        start="number = 0",
    ),
    Operation(
        "fold-largest",
        "i",
        "number",
        "keep the largest or 0",
        "number = max(number, i)",
        lambda stream: sorted([0, *stream])[-1],
        ("remember the maximum starting from 0", "keep the biggest or 0"),
        slips=("number = min(number, i)", "number = i"),
        start="number = 0",
    ),
    Operation(
        "fold-xor",
        "i",
        "number",
        "xor it into the total",
        "number ^= i",
        lambda stream: reduce(xor, stream, 0),
        ("combine all with xor", "keep the exclusive or"),
        slips=("number |= i",),
        start="number = 0",
    ),
    Operation(
        "fold-subtract",
        "i",
        "number",
        "subtract it from the total",
        "number -= i",
        lambda stream: -sum(stream),
        ("take it off a total that starts at 0", "keep 0 minus the sum"),
        slips=("number += i",),
        start="number = 0",
    ),
    Operation(
        "fold-collect",
        "i",
        "numbers",
        "append it to the list",
        "numbers.append(i)",
        list,
        ("collect it in a list", "keep a list of all"),
        slips=("numbers = [i]",),
        start="numbers = []",
    ),
)


def draw(random: Random) -> Chain:
    """A loop of two to four parts, and sometimes a step after it."""
    chain = extend(random, (), SOURCES, "n")
    for pool, share in ((FILTERS, 0.6), (TERMS, 0.6)):
        if random.random() < share:
            chain = extend(random, chain, pool, "i")
    chain = extend(random, chain, FOLDS, "i")
    if chain[-1].operation.gives == "number" and random.random() < 0.25:
        chain = extend(random, chain, SINGLE, "number")
    return chain

"""Family: a small dynamic program or a stack, with a step before it or after it.

The steps around the core come from the other operation tables and, for n and brackets, from here.
"""

from functools import cache
from itertools import combinations, pairwise
from math import comb
from random import Random

from runner.data.questions.number_operations import NUMBERS, SINGLE
from runner.data.questions.operation import Kind, Operation, assignment, each
from runner.data.questions.pipeline import Chain, extend
from runner.data.questions.text_operations import TEXT


def _lines(*lines: str) -> str:
    return "\n".join(lines)


def _best_block(numbers: list[int]) -> int:
    blocks = (sum(numbers[i:j]) for i in range(len(numbers)) for j in range(i, len(numbers) + 1))
    return max([0, *blocks])


def _best_without_neighbors(numbers: list[int]) -> int:
    if not numbers:
        return 0
    return max(_best_without_neighbors(numbers[1:]), numbers[0] + _best_without_neighbors(numbers[2:]))


def _longest_rising(numbers: list[int]) -> int:
    for size in range(len(numbers), 0, -1):
        if any(all(a < b for a, b in pairwise(part)) for part in combinations(numbers, size)):
            return size
    return 0


def _longest_run(numbers: list[int]) -> int:
    runs = (numbers[i:j] for i in range(len(numbers)) for j in range(i + 1, len(numbers) + 1))
    return max((len(run) for run in runs if run == sorted(set(run))), default=0)


def _next_greater(numbers: list[int]) -> list[int]:
    return [next((y for y in numbers[i + 1 :] if y > x), -1) for i, x in enumerate(numbers)]


def _climb(n: int, a: int, b: int) -> int:
    @cache
    def ways(left: int) -> int:
        return 1 if left == 0 else 0 if left < 0 else ways(left - a) + ways(left - b)

    return ways(n)


def _coins(n: int, a: int, b: int) -> int:
    return min(i + j + n - i * a - j * b for i in range(n // a + 1) for j in range((n - i * a) // b + 1))


def _recurrence(n: int, a: int, b: int) -> int:
    return b if n == 0 else _recurrence(n - 1, b, a + b)


def _cancel(text: str) -> str:
    for i in range(1, len(text)):
        if text[i - 1] == text[i]:
            return _cancel(text[: i - 1] + text[i + 1 :])
    return text


def _matched(brackets: str) -> int:
    inner = brackets.replace("()", "", 1)
    return 0 if inner == brackets else 1 + _matched(inner)


def _undo(text: str, a: str) -> str:
    place = text.find(a)
    return text if place < 0 else _undo(text[: max(place - 1, 0)] + text[place + 1 :], a)


def _deepest(brackets: str) -> int:
    heights = [brackets[:i].count("(") - brackets[:i].count(")") for i in range(len(brackets) + 1)]
    return max(heights)


CORES = (
    Operation(
        "best-block",
        "numbers",
        "number",
        "find the largest sum of a block",
        _lines(
            "number = here = 0",
            "for x in numbers:",
            "    here = max(here + x, 0)",
            "    number = max(number, here)",
        ),
        _best_block,
        ("find the best sum of neighboring numbers or 0", "compute the maximum subarray sum at least 0"),
    ),
    Operation(
        "best-apart",
        "numbers",
        "number",
        "find the largest sum without neighbors",
        _lines(
            "take = skip = 0",
            "for x in numbers:",
            "    take, skip = skip + x, max(skip, take)",
            "number = max(take, skip)",
        ),
        _best_without_neighbors,
        (
            "find the best sum of numbers no two of which are adjacent",
            "choose numbers that never touch for the best sum",
        ),
    ),
    Operation(
        "longest-rising",
        "numbers",
        "number",
        "find the longest increasing subsequence",
        _lines(
            "best = []",
            "for i, x in enumerate(numbers):",
            "    best.append(1 + max([best[j] for j in range(i) if numbers[j] < x], default=0))",
            "number = max(best, default=0)",
        ),
        _longest_rising,
        (
            "find how many numbers can be kept so that they strictly rise",
            "compute the length of the best rising subsequence",
        ),
    ),
    Operation(
        "longest-run",
        "numbers",
        "number",
        "find the longest increasing run",
        _lines(
            "number = run = 0",
            "for i, x in enumerate(numbers):",
            "    run = run + 1 if i and numbers[i - 1] < x else 1",
            "    number = max(number, run)",
        ),
        _longest_run,
        (
            "find the length of the longest block that strictly rises",
            "measure the longest stretch of growing neighbors",
        ),
    ),
    Operation(
        "next-greater",
        "numbers",
        "numbers",
        "find the next greater number of each or -1",
        _lines(
            "stack, found = [], []",
            "for x in numbers[::-1]:",
            "    while stack and stack[-1] <= x:",
            "        stack.pop()",
            "    found.append(stack[-1] if stack else -1)",
            "    stack.append(x)",
            "numbers = found[::-1]",
        ),
        _next_greater,
        (
            "replace each number by the first larger one after it or -1",
            "give for every number the next bigger one to its right or -1",
        ),
    ),
    Operation(
        "climb",
        "n",
        "number",
        "count the ways to climb with steps {a} and {b}",
        _lines(
            "ways = [1]",
            "for m in range(1, n + 1):",
            "    ways.append(sum(ways[m - s] for s in ({a}, {b}) if s <= m))",
            "number = ways[n]",
        ),
        _climb,
        ("count ordered sums of {a} and {b} that make n", "say in how many ways jumps of {a} or {b} reach n"),
        ((1, 2), (1, 3), (2, 3), (1, 4), (2, 5), (3, 4)),
    ),
    Operation(
        "coins",
        "n",
        "number",
        "find the fewest coins of 1 and {a} and {b}",
        _lines(
            "best = [0]",
            "for m in range(1, n + 1):",
            "    best.append(1 + min(best[m - c] for c in (1, {a}, {b}) if c <= m))",
            "number = best[n]",
        ),
        _coins,
        ("pay n with as few coins of 1, {a} and {b} as possible", "say how few coins worth 1, {a} or {b} make n"),
        ((3, 4), (5, 7), (4, 6), (3, 5), (2, 5), (5, 8)),
    ),
    Operation(
        "paths",
        "n",
        "number",
        "count the paths in a grid of {a} columns",
        _lines(
            "row = [1] * {a}",
            "for _ in range(n - 1):",
            "    for j in range(1, {a}):",
            "        row[j] += row[j - 1]",
            "number = row[-1]",
        ),
        lambda n, a: comb(max(n, 1) + a - 2, a - 1),
        (
            "count the ways right and down through n rows and {a} columns",
            "say how many paths cross a grid {a} wide and n high",
        ),
        each(2, 3, 4, 5),
    ),
    Operation(
        "recurrence",
        "n",
        "number",
        "add the last two n times from {a} and {b}",
        _lines(
            "x, number = {a}, {b}",
            "for _ in range(n):",
            "    x, number = number, x + number",
        ),
        _recurrence,
        ("start with {a} and {b} and sum the last two n times", "go n steps in the Fibonacci rule after {a} and {b}"),
        ((0, 1), (1, 1), (2, 1), (1, 3), (2, 5), (3, 4)),
    ),
    Operation(
        "cancel",
        "text",
        "text",
        "remove pairs of equal neighbors with a stack",
        _lines(
            "stack = []",
            "for c in text:",
            "    if stack and stack[-1] == c:",
            "        stack.pop()",
            "    else:",
            "        stack.append(c)",
            'text = "".join(stack)',
        ),
        _cancel,
        ("cancel equal letters that touch until none do", "delete touching twins again and again"),
    ),
    Operation(
        "undo",
        "text",
        "text",
        "let each {a} erase the letter before it",
        _lines(
            "stack = []",
            "for c in text:",
            '    if c != "{a}":',
            "        stack.append(c)",
            "    elif stack:",
            "        stack.pop()",
            'text = "".join(stack)',
        ),
        _undo,
        ("treat every {a} as a backspace key", "read {a} as undo of one letter"),
        each("a", "e", "r", "n", "s"),
    ),
    Operation(
        "deepest",
        "brackets",
        "number",
        "find the deepest nesting",
        _lines(
            "number = depth = 0",
            "for c in brackets:",
            '    depth += 1 if c == "(" else -1',
            "    number = max(number, depth)",
        ),
        _deepest,
        ("say how deep the brackets nest at most", "compute the maximum depth"),
    ),
    Operation(
        "matched",
        "brackets",
        "number",
        "count the matched pairs",
        _lines(
            "number = depth = 0",
            "for c in brackets:",
            '    if c == "(":',
            "        depth += 1",
            "    elif depth:",
            "        depth -= 1",
            "        number += 1",
        ),
        _matched,
        ("say how many brackets close one that is open", "count the pairs that belong together"),
    ),
    Operation(
        "unmatched",
        "brackets",
        "number",
        "count the brackets without a partner",
        _lines(
            "stack = []",
            "for c in brackets:",
            '    if c == ")" and "(" in stack[-1:]:',
            "        stack.pop()",
            "    else:",
            "        stack.append(c)",
            "number = len(stack)",
        ),
        lambda brackets: len(brackets) - 2 * _matched(brackets),
        ("say how many brackets must be added to balance it", "count the brackets that match no other"),
    ),
)

BEFORE_N = (
    assignment(
        "n",
        "n",
        "n-add",
        "add {a} to n",
        "n + {a}",
        lambda n, a: a - -n,
        ("increase n by {a}", "raise n by {a}"),
        each(1, 2, 3, 4, 5),
    ),
    assignment("n", "n", "n-halve", "halve n", "n // 2", lambda n: (n - (n & 1)) // 2, ("divide n by two",)),
    assignment(
        "n",
        "n",
        "n-remainder",
        "take n modulo {a}",
        "n % {a}",
        lambda n, a: n - n // a * a,
        ("reduce n modulo {a}", "replace n by its remainder after division by {a}"),
        each(5, 6, 7, 8, 9),
    ),
)
BEFORE_BRACKETS = (
    assignment(
        "brackets",
        "brackets",
        "brackets-drop-first",
        "drop the first {a} brackets",
        "brackets[{a}:]",
        lambda brackets, a: "".join(c for i, c in enumerate(brackets) if i >= a),
        ("skip {a} brackets at the start", "remove {a} brackets from the front"),
        each(2, 3),
    ),
    assignment(
        "brackets",
        "brackets",
        "brackets-first",
        "keep the first {a} brackets",
        "brackets[:{a}]",
        lambda brackets, a: "".join(c for i, c in enumerate(brackets) if i < a),
        ("take {a} brackets from the start", "cut it after {a} brackets"),
        each(3, 4, 5, 6),
    ),
    assignment(
        "brackets",
        "brackets",
        "brackets-repeat",
        "repeat the brackets twice",
        "brackets * 2",
        lambda brackets: "".join([*brackets, *brackets]),
        ("write the brackets two times", "append the brackets to themselves"),
    ),
    assignment(
        "brackets",
        "brackets",
        "brackets-enclose",
        "enclose it in one more pair",
        '"(" + brackets + ")"',
        lambda brackets: f"({brackets})",
        ("put one pair of brackets around it", "wrap it in a pair of brackets"),
    ),
)
BEFORE: dict[Kind, tuple[Operation, ...]] = {
    "numbers": NUMBERS,
    "text": TEXT,
    "n": BEFORE_N,
    "brackets": BEFORE_BRACKETS,
}
AFTER: dict[Kind, tuple[Operation, ...]] = {"number": SINGLE, "numbers": NUMBERS, "text": TEXT}


def draw(random: Random) -> Chain:
    """A core, in half of the chains with a step before it, in half with a step after it."""
    core = random.choice(CORES)
    chain: Chain = ()
    if random.random() < 0.5:
        chain = extend(random, chain, BEFORE[core.takes], core.takes)
    chain = extend(random, chain, (core,), core.takes)
    if random.random() < 0.5:
        chain = extend(random, chain, AFTER[core.gives], core.gives)
    return chain

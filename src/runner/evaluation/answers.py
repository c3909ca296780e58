"""The program that an answer holds, or why it holds none.

What is asked lies in ``problems``; whether the program is right is the sandbox's to say.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from runner.data.template import THINK_CLOSE
from runner.evaluation.problems import NativePrompt

FENCED = re.compile(r"```(?:python|py)[ \t]*\n(.*?)```", re.DOTALL)

NO_THINK_CLOSE = "no think close"
NO_CODE = "no code"
CUT = "cut"
NO_PREDICTION = "no prediction"

_OPENED = re.compile(r"^(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)
_DEFINES = re.compile(r"^(?:async[ \t]+def|def|class)\b", re.MULTILINE)
_LITERAL_LINES = 20
_UNREADABLE = (ValueError, RecursionError, MemoryError)  # null bytes, and nesting that the parser gives up on

_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Binding: TypeAlias = _Definition | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Missing:
    """Why an answer holds no program."""

    kind: str


def program_in(answer: str, *, cut: bool) -> str | Missing:
    """The last fenced Python block after the closing think tag, or what is missing.

    Where nothing is fenced, all that follows the tag counts if it reads as a program: many data sets' answers are bare
    code, and so are those of models tuned on them.  ``cut`` says that the answer ended at the cap on tokens: then the
    cap is the reason why no program is whole.
    """
    _, closed, rest = answer.partition(THINK_CLOSE)
    blocks = FENCED.findall(rest)
    if blocks:
        return textwrap.dedent(str(blocks[-1]))
    if cut:
        return Missing(CUT)
    if not closed:
        return Missing(NO_THINK_CLOSE)
    bare = _unix(rest).strip()
    return f"{bare}\n" if _is_program(bare) else Missing(NO_CODE)


def _is_program(text: str) -> bool:
    """Whether ``text`` is Python that does something; a lone name or number, as a word of prose may be, does not."""
    tree = _parsed(text)
    return tree is not None and any(
        not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call | ast.Await) for node in tree.body
    )


def prediction_in(program: str) -> str | Missing:
    """``program`` if all it does is return a literal from ``solve()``: to run the code asked about predicts nothing."""
    tree = _parsed(program)
    if tree is not None and len(tree.body) == 1 and isinstance(solve := tree.body[0], ast.FunctionDef):
        body = solve.body[1:] if ast.get_docstring(solve) is not None else solve.body
        match body:
            case [ast.Return(value=ast.expr() as value)] if solve.name == "solve" and _is_literal(value):
                return program
    return Missing(NO_PREDICTION)


def native_program(native: NativePrompt, continuation: str) -> str | Missing:
    """The program that ``continuation`` makes of the prompt, without what a base writes after it; see NativePrompt.

    A program that does not parse is given as it is: the sandbox calls it by its name, syntax.
    """
    if native.continuation == "literal":
        return _literal_program(native.marker, continuation)
    if not continuation.strip():
        return Missing(NO_CODE)
    read = _opened_function if native.continuation == "function" else _program
    return read(_unix(native.text), _unix(native.text + continuation))


def _literal_program(marker: str, continuation: str) -> str | Missing:
    _, found, rest = continuation.partition(marker) if marker else ("", True, continuation)
    if not found or not rest.strip():
        return Missing(NO_CODE)
    lines = rest.lstrip(" \t").splitlines()
    for count in range(1, min(len(lines), _LITERAL_LINES) + 1):
        # as the right side of an assert it may be followed by a message or a comment
        match _parsed(source := "assert 0 == " + "\n".join(lines[:count])):
            case ast.Module(body=[ast.Assert(test=ast.Compare(comparators=[value])), *_]):
                return f"def solve():\n    return {ast.get_source_segment(source, value)}\n"
    return f"def solve():\n    return {lines[0]}\n" if lines[0].strip() else Missing(NO_CODE)


def _opened_function(prompt: str, text: str) -> str:
    """The prompt's function to its end, with what it needs of the rest: helpers, their imports and constants."""
    opened = list(_OPENED.finditer(prompt))
    assert opened, "the prompt opens no function"
    start = prompt.count("\n", 0, opened[-1].start())
    lines, tree = _readable(text, at_least=start + 1)
    found = [node for node in tree.body if isinstance(node, _Definition) and _first_line(node) <= start + 1]
    if not found or found[-1].lineno != start + 1:
        return "\n".join(lines) + "\n"
    function = found[-1]
    place = tree.body.index(function)
    needed = _needed(tree.body[: place + 1], tree.body[place + 1 :])
    kept = [lines[: function.end_lineno], *(lines[_first_line(node) - 1 : node.end_lineno] for node in needed)]
    return "\n\n".join("\n".join(part) for part in kept) + "\n"


def _needed(before: Sequence[ast.stmt], after: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Those of ``after`` that bind names which ``before`` reads and nobody bound, and what these read in turn.

    The first binding of a name counts: a base that tells its function twice is not allowed a second try.
    """
    bound = {name for node in before for name in _bound(node)}
    first = {name: node for node in reversed(after) for name in _bound(node) if name not in bound}
    wanted = [name for node in before for name in _read(node)]
    chosen: list[ast.stmt] = []
    while wanted:
        node = first.get(wanted.pop())
        if node is not None and node not in chosen:
            chosen.append(node)
            wanted += sorted(_read(node))
    return sorted(chosen, key=lambda node: node.lineno)


def _program(prompt: str, text: str) -> str:
    """``text`` up to where, after its first definition, it does something else or defines a name again."""
    first = _DEFINES.search(text)
    place = first.start() if first else len(text) - len(text[len(prompt) :].lstrip())
    lines, tree = _readable(text, at_least=text.count("\n", 0, place) + 1)
    kept: list[ast.stmt] = []
    defined: set[str] = set()
    for node in tree.body:
        again = isinstance(node, _Definition) and node.name in defined
        if defined and (again or not isinstance(node, _Binding)):
            break
        kept.append(node)
        defined |= _bound(node) if isinstance(node, _Definition) else set()
    # the last statement is a definition, or something that a definition reads: no call of it in passing
    asked = defined | {name for node in kept if isinstance(node, _Definition) for name in _read(node)}
    while defined and not _bound(kept[-1]) & asked:
        kept.pop()
    return "\n".join(lines[: kept[-1].end_lineno] if kept else lines) + "\n"


def _readable(text: str, *, at_least: int) -> tuple[list[str], ast.Module]:
    """The longest head of ``text`` that parses and ends before a line at column 0, as lines and as a tree.

    The first ``at_least`` lines and the statement they end in are never given up: an empty tree is for a head
    that does not parse.
    """
    lines = text.split("\n")
    while True:
        try:
            return lines, _parse("\n".join(lines))
        except SyntaxError as error:
            wrong = min(error.lineno or 1, len(lines))
        except _UNREADABLE:
            return lines, ast.Module([], [])
        starts = [number for number in range(wrong) if lines[number][:1].strip() and lines[number][0] not in ")]}"]
        if not starts or starts[-1] < at_least:
            return lines, ast.Module([], [])
        lines = lines[: starts[-1]]


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stray backslash is the program's affair
        return ast.parse(text)


def _parsed(text: str) -> ast.Module | None:
    try:
        return _parse(text)
    except (SyntaxError, *_UNREADABLE):
        return None


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (TypeError, *_UNREADABLE):
        return False
    return True


def _bound(node: ast.stmt) -> set[str]:
    """The names that a top-level statement defines; none where it does something else."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(alias.asname or alias.name).partition(".")[0] for alias in names}
        case ast.Assign() | ast.AnnAssign():
            return {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
    return set()


def _read(node: ast.stmt) -> set[str]:
    """The names that a statement reads and nowhere sets, as a parameter or otherwise."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    own = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    return {part.id for part in names} - own - {part.id for part in names if isinstance(part.ctx, ast.Store)}


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, _Definition) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")

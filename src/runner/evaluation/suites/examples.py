"""The examples that the statement of a competition problem shows, read from its text.

Whether passing them means much is not decided here: it means little.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from runner.evaluation.sandbox.programs import Example

Part: TypeAlias = Literal["examples", "input", "output", "sample input", "sample output", "other"]

_NUMBER = r"(?: *#?\d+)?"
# a whole line, its ornaments taken off and in small letters; the first that fits
_HEADERS: dict[Part, str] = {
    "sample input": rf"(?:sample|example) inputs?{_NUMBER}|input (?:sample|example){_NUMBER}|sample{_NUMBER} input",
    "sample output": rf"(?:sample|example) outputs?{_NUMBER}|output (?:sample|example){_NUMBER}|sample{_NUMBER} output"
    rf"|output for (?:the )?sample input{_NUMBER}",
    "examples": rf"(?:examples?|samples?|sample tests?|sample cases?|sample test cases?){_NUMBER}",
    "input": rf"inputs?{_NUMBER}",
    "output": rf"outputs?{_NUMBER}",
    "other": r"(?:notes?|explanations?)\b.*|constraints?|scoring|hints?|sub-?tasks?|limits?"
    r"|(?:input|output) (?:format|specification|description)|problem statement|source",
}
_ORNAMENT = " \t-=*#_`:."
_RULED = re.compile(r"\s*(-{3,}\s*\S.*\S\s*-{3,}|#{1,6}\s+\S.*)\s*")
_WORD = re.compile(r"[A-Za-z]{2,}")
_SENTENCE_WORDS = 4
_DESCRIBING_WORDS = 3
_DESCRIBES = re.compile(
    r"\b(line|lines|contains?|consists?|given|denot\w+|integers?|print|output|input|separated)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class _Section:
    part: Part
    lines: tuple[str, ...]


def examples_in(statement: str) -> tuple[Example, ...]:
    """The pairs of input and output that the statement shows, in order, each once; () where none can be read.

    Read are sections headed Input and Output under a heading Example, and Sample Input and Sample Output
    anywhere, as Codeforces, CodeChef, AtCoder and AIZU have them.  Prose after an output is left out.
    """
    found: list[Example] = []
    given: str | None = None
    for part, lines in _sample_sections(statement):
        if part == "sample input":
            given = _block(lines)
        elif given:
            wanted = _block(_before_prose(lines))
            if wanted and not (_describes(given) and _describes(wanted)):
                found.append(Example(given, wanted))
            given = None
    return tuple(dict.fromkeys(found))


def _sample_sections(statement: str) -> Iterator[tuple[Part, tuple[str, ...]]]:
    """The sections that hold a sample's input or output; a bare heading Input is one only among examples."""
    among_examples = False
    for section in _sections(statement):
        match section.part:
            case "examples":
                among_examples = True
            case "other":
                among_examples = False
            case "input" | "output" if among_examples:
                yield ("sample input" if section.part == "input" else "sample output"), section.lines
            case "sample input" | "sample output":
                yield section.part, section.lines


def _sections(statement: str) -> Iterator[_Section]:
    part: Part = "other"
    lines: list[str] = []
    for line in statement.replace("\r\n", "\n").split("\n"):
        heading = _heading(line)
        if heading is None:
            lines.append(line)
        else:
            yield _Section(part, tuple(lines))
            part, lines = heading, []
    yield _Section(part, tuple(lines))


def _heading(line: str) -> Part | None:
    bare = line.strip(_ORNAMENT).lower()
    for part, pattern in _HEADERS.items():
        if re.fullmatch(pattern, bare):
            return part
    return "other" if _RULED.fullmatch(line) else None


def _block(lines: tuple[str, ...]) -> str:
    """The lines without fences and without blank lines around them, each ended; empty where nothing is left."""
    kept = [line.rstrip() for line in lines if not line.strip().startswith("```")]
    text = "\n".join(kept).strip("\n")
    return f"{text}\n" if text.strip() else ""


def _before_prose(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The first paragraph and those after it, up to one that begins with a sentence."""
    started = False
    for place, line in enumerate(lines):
        opens = bool(line.strip()) and (place == 0 or not lines[place - 1].strip())
        if opens and started and len(_WORD.findall(line)) >= _SENTENCE_WORDS:
            return lines[:place]
        started = started or bool(line.strip())
    return lines


def _describes(text: str) -> bool:
    """Whether the text is about an input or output and not one."""
    first = text.split("\n", 1)[0]
    return len(_WORD.findall(first)) >= _DESCRIBING_WORDS and _DESCRIBES.search(first) is not None

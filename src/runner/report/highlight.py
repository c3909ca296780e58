"""Python as HTML with its keywords, strings, numbers and comments told apart, and nothing of it run.

Colours are ``page_style``'s.
"""

import keyword
import re
from html import escape

_QUOTED = (
    r"\"\"\"[\s\S]*?(?:\"\"\"|\Z)",
    r"'''[\s\S]*?(?:'''|\Z)",
    r"\"(?:\\.|[^\"\\\n])*\"?",
    r"'(?:\\.|[^'\\\n])*'?",
)
_TOKEN = re.compile(
    rf"(?P<comment>\#[^\n]*)|(?P<string>(?:\b[rbfuRBFU]{{1,2}})?(?:{'|'.join(_QUOTED)}))"
    r"|(?P<number>\b\d[\w.]*)|(?P<word>\b[A-Za-z_]\w*)"
)
_CLASSES = {"comment": "c", "string": "s", "number": "n"}


def highlighted(code: str) -> str:
    """``code`` escaped, with spans of class c, s, n and k around comments, strings, numbers and keywords.

    Any text may be given: what is no Python is shown as it is.
    """
    pieces, done = [], 0
    for found in _TOKEN.finditer(code):
        pieces.append(escape(code[done : found.start()], quote=False))
        ink = _CLASSES.get(str(found.lastgroup)) or ("k" if keyword.iskeyword(found[0]) else "")
        words = escape(found[0], quote=False)
        pieces.append(f'<span class="{ink}">{words}</span>' if ink else words)
        done = found.end()
    return "".join(pieces) + escape(code[done:], quote=False)

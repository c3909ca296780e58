"""Built-in code-reasoning questions with hidden tests, and commented programs without questions.

Turning rows into tokens is ``runner.data``'s work, running answers is ``runner.evaluation``'s.
"""

from runner.data.questions.generator import FAMILIES, family_of, hidden_tests, programs, question_of, rows
from runner.data.questions.question import JSON, NativeForm, Question, Split, Test

__all__ = [
    "FAMILIES",
    "JSON",
    "NativeForm",
    "Question",
    "Split",
    "Test",
    "family_of",
    "hidden_tests",
    "programs",
    "question_of",
    "rows",
]

"""Questions that ask for a program: the way from a drawn chain of steps to the question and its answer.

Which chains are drawn is in the families; the sentences are in ``wording``.
"""

from random import Random

from runner.data.questions.pipeline import Chain, draw_tests, names, write_code
from runner.data.questions.question import NativeForm, Question
from runner.data.questions.wording import ask, header, plan, remark

CLOSING = "Here is the function."


def write_question(random: Random, chain: Chain) -> Question:
    """The question that asks for the program of ``chain``."""
    phrases = [step.wording(random) for step in chain]
    code = write_code(chain, commented=True)
    return Question(
        statement=ask(random, chain[0].operation.takes, phrases),
        trace=plan(chain),
        closing=CLOSING,
        solution=code,
        program=remark(random, chain) + code,
        sequence=names(chain),
        tests=draw_tests(random, chain),
        native=NativeForm(header(phrases) + "def solve("),
    )

"""In a box: an untrusted program run as a script, from standard input to standard output, both the box's own.

Its failure is the exit code and the last line of standard error, as with Python itself.
"""

import sys

from runner.evaluation.sandbox.inside.limits import begin, load


def main(status: int, request: int) -> None:
    asked = begin(status, request)
    sys.argv = ["candidate"]
    load(asked["code"], "__main__")

"""Suites of problems: from files in five formats, from the built-in questions, from statements without tests.

What a problem is lies in ``problems``; asking, running and counting are left to others.
"""

from runner.evaluation.suites.held_out import built_in_suite, statement_suite
from runner.evaluation.suites.mbpp import mbpp_split
from runner.evaluation.suites.reading import read_suite

__all__ = ["built_in_suite", "mbpp_split", "read_suite", "statement_suite"]

"""Answers of a model to the built-in questions: generated, executed with limits, counted.

The isolating sandbox and pass@k with intervals are not here.
"""

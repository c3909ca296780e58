"""Answers of a model to the built-in questions: generated, executed with limits, counted.

``sandbox`` isolates programs that nobody has read; pass@k with intervals is not here.
"""

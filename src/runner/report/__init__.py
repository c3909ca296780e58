"""What a run looks like: its summary in the terminal and its loss curve as an image.

Reading a run is ``runner.runs``; deciding where text goes is the command line's.
"""

from runner.evaluation.intervals import Share
from runner.report.commands import Command
from runner.report.style import Style, style_of
from runner.report.summary import summary
from runner.report.svg import write_curve

__all__ = ["Command", "Share", "Style", "style_of", "summary", "write_curve"]

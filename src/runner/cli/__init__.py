"""The command line: what is typed becomes a call, its result becomes lines, an error one line and an exit code.

Nothing is trained, planned or measured here.
"""

from runner.cli.app import main

__all__ = ["main"]

"""``python -m runner``: the same program as ``runner``.

Everything is in ``runner.cli``.
"""

from runner.cli import main

if __name__ == "__main__":
    main()

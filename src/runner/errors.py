"""What can go wrong that a user or a machine can cause: one class per exit code of the command line.

Programming mistakes stay ``AssertionError``; nothing here is raised for them.
"""


def printable(text: str) -> str:
    """``text`` on one line, with escapes for what a terminal would not show: names from files may hold anything."""
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class RunnerError(Exception):
    """A failure told in three parts: what was found, where, and what to do about it.

    ``str(error)`` is one line, ``what; where; remedy``, and printable.  Errors cross process borders, so every part
    is handed to ``Exception`` and survives pickling.
    """

    exit_code = 4

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        return printable("; ".join(part for part in (self.what, self.where, self.remedy) if part))


class UserError(RunnerError):
    """The user's mistake, found before any accelerator is touched."""

    exit_code = 2


class JobFileError(UserError):
    """Every fault of one job file, told together; ``faults`` holds one line each."""

    def __init__(self, file: str, faults: tuple[str, ...]) -> None:
        Exception.__init__(self, file, faults)
        self.file = file
        self.faults = tuple(map(printable, faults))
        self.what = f"{file} has {len(faults)} {'fault' if len(faults) == 1 else 'faults'}"
        self.where = ""
        self.remedy = ""

    def __str__(self) -> str:
        return "\n".join([f"{printable(self.what)}:", *(f"  {fault}" for fault in self.faults)])


class DoesNotFit(RunnerError):
    """The job needs more memory, workers or disk than there is."""

    exit_code = 3


class TrainingFailed(RunnerError):
    """Training began and could not go on."""

    exit_code = 4


class Diverged(RunnerError):
    """The loss or the gradient stopped being finite, several steps in a row."""

    exit_code = 5


class Stopped(RunnerError):
    """Asked to end (SIGTERM, node drain); everything is saved and the run can be resumed."""

    exit_code = 75


class Interrupted(RunnerError):
    """Ctrl-C; everything is saved and the run can be resumed."""

    exit_code = 130

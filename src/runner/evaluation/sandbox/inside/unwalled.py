"""Without walls: what a process gives up by itself before untrusted code runs, for good.

The limits that hold with walls too are in ``limits``.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from runner.evaluation.sandbox.inside.limits import bound_threads

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
SIGKILL = 9  # the module signal takes 5 ms to import
INSTRUCTION_BYTES = 8


class Filter(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def give_up(user: int, library: int, seccomp: int) -> None:
    """Become ``user``, gain no rights any more, die with the parent, be refused the system calls that make processes.

    Numbers that are -1 stand for nothing: stay the user, find Python by its name.  ``library`` is Python's folder.
    """
    if user != -1:
        _become(user, library)
    kernel = ctypes.CDLL(None)
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kernel.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    with open(seccomp, "rb") as file:
        code = file.read()
    refused = ctypes.byref(Filter(len(code) // INSTRUCTION_BYTES, code))
    if kernel.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, refused) != 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # no process, but no thread either


def _become(user: int, library: int) -> None:
    if library != -1:
        packages = [
            module.__path__ for module in sys.modules.values() if isinstance(getattr(module, "__path__", 0), list)
        ]
        for folders in (sys.path, *packages):
            folders[:] = [folder.replace(sys.base_prefix, f"/proc/self/fd/{library}", 1) for folder in folders]
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:  # a namespace without this user
        return
    bound_threads()

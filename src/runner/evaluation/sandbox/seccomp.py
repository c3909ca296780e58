"""A seccomp filter as BPF bytes, without libseccomp: what an untrusted program may ask of the kernel.

The numbers are in ``syscalls``; bubblewrap installs the filter just before it starts the program.
"""

import errno
import platform
import struct
import sys

from runner.evaluation.sandbox.syscalls import Machine, denied_numbers, number

# offsets in the kernel's struct seccomp_data, which is little-endian on both machines
NUMBER, ARCHITECTURE, ARGUMENT_0, ARGUMENT_1 = 0, 4, 16, 24
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
KILL, ALLOW, REFUSE = 0x80000000, 0x7FFF0000, 0x00050000
ARCHITECTURES: dict[Machine, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_CALLS = 0x40000000  # x86_64 has every call a second time from here on

CLONE_THREAD = 0x00010000
# time, mount, cgroup, uts, ipc, user, pid and network namespaces
NEW_NAMESPACES = 0x00000080 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX put keys into the user's terminal


def machine() -> Machine | None:
    """This one, None where no filter is known."""
    match sys.platform, platform.machine():
        case "linux", "x86_64":
            return "x86_64"
        case "linux", "aarch64":
            return "aarch64"
    return None


def filter_bytes(machine: Machine) -> bytes:
    """The program that the kernel runs at every system call.

    Refused with EPERM: all of ``DENIED``, a new process (threads are allowed), a new namespace, keys for a terminal.
    clone3 does not exist (ENOSYS), for its flags lie behind a pointer; C libraries then use clone.
    Calls of another architecture kill the process.
    """
    code = [_load(ARCHITECTURE), *_unless(EQUAL, ARCHITECTURES[machine], KILL), _load(NUMBER)]
    if machine == "x86_64":
        code += _when(AT_LEAST, X32_CALLS, KILL)
    for denied in denied_numbers(machine):
        code += _when(EQUAL, denied, REFUSE | errno.EPERM)
    code += _when(EQUAL, number("clone3", machine), REFUSE | errno.ENOSYS)
    code += _only_threads(number("clone", machine))
    code += _no_keys(number("ioctl", machine))
    return b"".join([*code, _return(ALLOW)])


def _only_threads(clone: int) -> list[bytes]:
    flags = [
        _load(ARGUMENT_0),
        *_when(ANY_BIT, NEW_NAMESPACES, REFUSE | errno.EPERM),
        *_unless(ANY_BIT, CLONE_THREAD, REFUSE | errno.EPERM),
        _return(ALLOW),
    ]
    return [_jump(EQUAL, clone, 0, len(flags)), *flags]


def _no_keys(ioctl: int) -> list[bytes]:
    request = [_load(ARGUMENT_1)]
    for key in TERMINAL_INPUT:
        request += _when(EQUAL, key, REFUSE | errno.EPERM)
    return [_jump(EQUAL, ioctl, 0, len(request)), *request]


def _load(offset: int) -> bytes:
    return _instruction(LOAD, offset)


def _return(action: int) -> bytes:
    return _instruction(RETURN, action)


def _when(test: int, value: int, action: int) -> list[bytes]:
    return [_jump(test, value, 0, 1), _return(action)]


def _unless(test: int, value: int, action: int) -> list[bytes]:
    return [_jump(test, value, 1, 0), _return(action)]


def _jump(test: int, value: int, if_true: int, if_false: int) -> bytes:
    return _instruction(test, value, if_true, if_false)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)

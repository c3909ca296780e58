"""What a hostile program might try: every attempt prints its proof only after the thing itself has worked.

How they are run, walled in and not, is in ``test_escapes``.
"""

import textwrap
from dataclasses import dataclass
from typing import Literal, TypeAlias

Shown: TypeAlias = Literal["anyone", "root", "never"]  # by whom it may harmlessly be shown without walls


@dataclass(frozen=True)
class Attack:
    """``code`` uses what ``Prey`` fills in: TOKEN is the proof, printed by success or found only by success."""

    name: str
    shown: Shown
    code: str


@dataclass(frozen=True)
class Prey:
    """What the attacks are after: a secret in files, in the environment, behind sockets, and the parent's number."""

    token: str
    folder: str
    port: int
    parent: int


PRELUDE = """
import ctypes, errno, fcntl, glob, mmap, os, resource, socket, stat, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def proven(worked=True):
    if worked:
        print(TOKEN)
def call(number, *arguments):
    return libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
ARM = os.uname().machine == "aarch64"
"""

# name, who may show it without walls, code
TABLE: tuple[tuple[str, Shown, str], ...] = (
    ("read the password file", "root", "proven(len(open('/etc/shadow').read()) > 0)"),
    ("read a file of the parent", "anyone", "print(open(FOLDER + '/secret').read())"),
    ("read it through a link", "anyone",
     "os.chdir('/tmp'); n = f'link{os.getpid()}'; os.symlink(FOLDER + '/secret', n)\n"
     "try: print(open(n).read())\nfinally: os.unlink(n)"),
    ("read the environment", "anyone", "print(os.environ['SECRET'])"),
    ("read other environments", "anyone",
     "found = [e for f in glob.glob('/proc/[0-9]*/environ') for e in content(f).split(b'\\0') if e[:7] == b'SECRET=']\n"
     "print(found[0][7:].decode())"),
    ("read the home folder", "anyone", "proven(any(os.path.isfile(f'{HOME}/{n}') for n in os.listdir(HOME)))"),
    ("write beside the parent", "anyone", "os.stat(FOLDER + '/secret'); open(FOLDER + '/made', 'w').close(); proven()"),
    ("write into /usr", "never", "open('/usr/lib/made-by-attack', 'w').close(); proven()"),
    ("write into the root folder", "never", "open('/made-by-attack', 'w').close(); proven()"),
    ("change the modules it runs on", "never",
     "f = glob.glob('/code/runner/evaluation/sandbox/inside/*')[0]; open(f, 'ab').write(b' '); proven()"),
    ("change the interpreter", "never", "open(os.path.realpath(sys.executable), 'ab').close(); proven()"),
    ("connect to an address", "anyone",
     "s = socket.create_connection(('127.0.0.1', PORT), 2); print(s.recv(99).decode())"),
    ("connect to a socket file", "anyone",
     "s = socket.socket(socket.AF_UNIX); s.connect(FOLDER + '/socket'); print(s.recv(99).decode())"),
    ("connect to an abstract socket", "anyone",
     "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + FOLDER); print(s.recv(99).decode())"),
    ("talk to the kernel by netlink", "anyone", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); proven()"),
    ("fork", "anyone", "p = os.fork()\nif p == 0: os._exit(0)\nos.waitpid(p, 0); proven()"),
    ("fork a hundred at once", "anyone",
     "ps = []\nfor _ in range(100):\n    p = os.fork()\n    if p == 0: time.sleep(1); os._exit(0)\n    ps.append(p)\n"
     "[os.waitpid(p, 0) for p in ps]; proven()"),
    ("leave a daemon", "anyone",
     "p = os.fork()\nif p == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(0.2)\n    os._exit(0)\n"
     "os.wait(); proven()"),
    ("start another program", "anyone", "subprocess.run(['/bin/true'], check=True); proven()"),
    ("vfork by number", "anyone",
     "p = call(220 if ARM else 56, 17, 0, 0, 0, 0)\nif p == 0: os._exit(0)\nproven(p > 0)"),
    ("start three hundred threads", "anyone",
     "e = threading.Event(); ts = [threading.Thread(target=e.wait) for _ in range(300)]\n"
     "try:\n    [t.start() for t in ts]; proven()\nfinally: e.set()"),
    ("take two GiB", "anyone", "b = bytearray(2 << 30); proven(len(b) == 2 << 30)"),
    ("take memory past the limit as a file", "anyone", "f = os.memfd_create('x'); proven(os.write(f, b'x') == 1)"),
    ("take memory past the limit as a segment", "anyone",
     "n = call(194 if ARM else 29, 0, 1 << 20, 0o1600)\nif n >= 0: call(195 if ARM else 31, n, 0, 0); proven()"),
    ("fill the disk", "anyone",
     "ns = [f'/tmp/fill{os.getpid()}-{i}' for i in range(4)]\ntry:\n    for n in ns:\n"
     "        f = open(n, 'wb', 0); f.write(bytes(10 << 20)) == 10 << 20 or sys.exit(1)\n    proven()\n"
     "finally: [os.unlink(n) for n in ns if os.path.exists(n)]"),
    ("fill /dev", "never", "open('/dev/made', 'wb', 0).write(bytes(1 << 20)); proven()"),
    ("open five hundred files", "anyone", "fs = [open('/dev/null') for _ in range(500)]; proven()"),
    ("signal the parent", "anyone", "os.kill(PARENT, 0); proven(PARENT != os.getpid())"),
    ("signal everybody", "anyone", "os.kill(-1, 0); proven()"),
    ("be traced", "anyone", "proven(libc.ptrace(0, 0, 0, 0) == 0)"),
    ("read a process's memory", "anyone",
     "b = ctypes.create_string_buffer(b'x' * 8); o = ctypes.create_string_buffer(8)\n"
     "v = lambda x: (ctypes.c_ulong * 2)(ctypes.addressof(x), 8)\n"
     "proven(libc.process_vm_readv(os.getpid(), v(o), 1, v(b), 1, 0) == 8)"),
    ("list the descriptors", "anyone", "proven(len(os.listdir('/proc/self/fd')) > 0)"),
    ("go through the first process", "root", "proven('etc' in os.listdir('/proc/1/root'))"),
    ("find a descriptor left open", "never",
     "proven(any(stat.S_ISDIR(os.fstat(n).st_mode) or stat.S_ISREG(os.fstat(n).st_mode) for n in range(3, 64)"
     " if fcntl_ok(n)))"),
    ("unshare a user namespace", "anyone", "proven(libc.unshare(0x10000000) == 0)"),
    ("unshare a mount namespace", "root", "proven(libc.unshare(0x00020000) == 0)"),
    ("clone a user namespace", "anyone",
     "p = call(220 if ARM else 56, 0x10000000 | 17, 0, 0, 0, 0)\nif p == 0: os._exit(0)\nproven(p > 0)"),
    ("clone3", "anyone",
     "a = (ctypes.c_ulong * 8)(0, 0, 0, 0, 17, 0, 0, 0); p = call(435, a, 64)\nif p == 0: os._exit(0)\nproven(p > 0)"),
    ("join a namespace", "never", "f = os.open('/proc/1/ns/net', 0); proven(libc.setns(f, 0) == 0)"),
    ("mount", "never", "proven(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0)"),
    ("make the root folder writable", "never", "proven(libc.mount(None, b'/', None, 4096 | 32, None) == 0)"),
    ("change the root", "root", "os.chroot('/'); proven()"),
    ("become root", "never", "os.setuid(0); proven(os.getuid() == 0)"),
    ("put keys into the terminal", "root",
     "m, s = os.openpty(); fcntl.ioctl(s, 0x5412, b'x'); proven()"),
    ("run a file in memory", "anyone",
     "f = os.memfd_create('x', 0); os.write(f, f'#!/bin/sh\\necho {TOKEN}\\n'.encode()); os.execve(f, ['x'], {})"),
    ("use the calls of the older architecture", "anyone",
     "m = mmap.mmap(-1, 4096, prot=7); m.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')  # getpid of i386\n"
     "f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m))); proven(f() == os.getpid())"),
    ("use io_uring", "anyone", "p = ctypes.create_string_buffer(120); proven(call(425, 4, p) >= 0)"),
    ("use the kernel's keys", "anyone", "proven(call(219 if ARM else 250, 0, -4, 1) > 0)"),
    ("count the kernel's events", "never",
     "a = (ctypes.c_uint * 32)(1, 128); proven(call(241 if ARM else 298, a, 0, -1, -1, 0) >= 0)"),
    ("catch page faults", "root", "proven(call(282 if ARM else 323, 0) >= 0)"),
    ("switch randomisation off", "anyone", "proven(libc.personality(0x0040000) != -1)"),
    ("load a BPF map", "root",
     "a = (ctypes.c_uint * 32)(2, 4, 4, 1); proven(call(280 if ARM else 321, 0, a, 128) >= 0)"),
    ("open a file by its handle", "never", "proven(call(265 if ARM else 304, 0, 0, 0) != -1)"),
    ("read the kernel's log", "root", "proven(libc.klogctl(10, None, 0) >= 0)"),
    ("read sysfs", "anyone", "proven(len(os.listdir('/sys')) > 0)"),
    ("find a disk or memory", "anyone",
     "proven(bool(set(os.listdir('/dev')) - {'null', 'zero', 'random', 'urandom'}))"),
    ("raise the memory limit", "root",
     "n = resource.RLIM_INFINITY; resource.setrlimit(resource.RLIMIT_AS, (n, n)); proven(len(bytearray(2 << 30)) > 0)"),
    ("allow core dumps", "root",
     "n = resource.RLIM_INFINITY; resource.setrlimit(resource.RLIMIT_CORE, (n, n)); proven()"),
    ("change the host's name", "never", "proven(libc.sethostname(b'x', 1) == 0)"),
    ("make a device", "never", "os.mknod('/tmp/disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0)); proven()"),
)  # fmt: skip

FUNCTIONS = """
def content(file):
    try: return open(file, 'rb').read()
    except OSError: return b''
def fcntl_ok(number):
    try: return fcntl.fcntl(number, fcntl.F_GETFD) >= 0
    except OSError: return False
"""

ATTACKS = tuple(Attack(*row) for row in TABLE)


def program(attack: Attack, prey: Prey, home: str) -> str:
    """The attack as a whole script."""
    names = {"TOKEN": prey.token, "FOLDER": prey.folder, "PORT": prey.port, "PARENT": prey.parent, "HOME": home}
    # a secret that is to be found must not stand in the program
    if "print(" in attack.code and "TOKEN" not in attack.code:
        names["TOKEN"] = "none"
    values = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    return values + textwrap.dedent(PRELUDE) + FUNCTIONS + attack.code + "\n"

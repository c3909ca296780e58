"""Sixty ways out of the box, tried as root and as an ordinary user: none works, and most do without the box."""

import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import ATTACKS, Attack, Prey, program
from walled import as_ordinary_user, needs_ordinary, needs_sandbox

from runner.evaluation.sandbox import Example, ScriptProgram, Verdict, run_programs

AS_ORDINARY = """
import json, sys
from runner.evaluation.sandbox import Example, ScriptProgram, run_programs
asked = json.load(sys.stdin)
programs = [ScriptProgram(code, (Example("", asked["token"]),)) for code in asked["codes"]]
print(json.dumps([[v.outcome, v.detail] for v in run_programs(programs, timeout_s=3.0)]))
"""


@pytest.fixture(scope="module")
def prey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prey]:
    """A secret that listens on three sockets and lies in a file and in this process's environment."""
    folder = tmp_path_factory.mktemp("prey")
    token = secrets.token_hex(8)
    (folder / "secret").write_text(token)
    by_address = socket.create_server(("127.0.0.1", 0))
    by_file, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    by_file.bind(str(folder / "socket"))
    abstract.bind("\0" + str(folder))
    for listening in (by_address, by_file, abstract):
        listening.listen()
        threading.Thread(target=tell, args=(listening, token), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET", token)
        yield Prey(token, str(folder), by_address.getsockname()[1], os.getpid())
    for listening in (by_address, by_file, abstract):
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def tell(listening: socket.socket, token: str) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # the test is over
            return
        with connection:
            connection.sendall(token.encode())


def scripts(prey: Prey) -> list[str]:
    return [program(attack, prey, str(Path.home())) for attack in ATTACKS]


def escapes(verdicts: list[Verdict]) -> dict[str, Verdict]:
    assert len(verdicts) == len(ATTACKS) >= 40
    verdict_of = {attack.name: verdict for attack, verdict in zip(ATTACKS, verdicts, strict=True)}
    # neither a program that is not Python nor one that stumbles over a name has tried anything
    stumbled = ("SyntaxError", "IndentationError", "NameError", "TypeError")
    assert not {name: v for name, v in verdict_of.items() if any(error in v.detail for error in stumbled)}
    return {name: verdict for name, verdict in verdict_of.items() if verdict.passed}


@needs_sandbox
def test_no_attack_gets_out(prey: Prey) -> None:
    programs = [ScriptProgram(code, (Example("", prey.token),)) for code in scripts(prey)]
    assert escapes(run_programs(programs, timeout_s=3.0)) == {}
    assert not (Path(prey.folder) / "made").exists()


@needs_sandbox
@needs_ordinary
def test_no_attack_gets_out_of_an_ordinary_users_box(prey: Prey) -> None:
    asked = {"codes": scripts(prey), "token": prey.token}
    rows = as_ordinary_user(AS_ORDINARY, asked, {"SECRET": prey.token})
    assert isinstance(rows, list)
    assert escapes([Verdict(*row) for row in rows]) == {}


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.shown != "never"], ids=lambda attack: attack.name)
def test_without_the_box_the_attack_works(attack: Attack, prey: Prey) -> None:
    if attack.shown == "root" and os.geteuid() != 0:
        pytest.skip("only root can do this without the box")
    code = program(attack, prey, str(Path.home()))
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=30, cwd="/tmp")
    (Path(prey.folder) / "made").unlink(missing_ok=True)
    if done.stdout.strip() != prey.token:
        pytest.xfail(f"this machine refuses it to everybody: {done.stderr.strip().splitlines()[-1:]}")

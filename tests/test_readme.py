"""What README.md tells is there: its commands, its files, its test command in .ci/run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_named_exists() -> None:
    from runner.cli.app import app

    known = {command.callback.__name__ for command in app.registered_commands if command.callback is not None}
    named = set(re.findall(r"(?:^|[`&\s])runner ([a-z]+)\b", README, re.MULTILINE))
    assert {"train", "plan", "data", "fetch", "show", "doctor"} <= named
    assert named <= known


def test_every_file_linked_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if "://" not in link]
    assert len(local) >= 8
    assert [link for link in local if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("command", ["pip install . && runner train", "pip install '.[test]' && pytest"])
def test_the_two_commands_stand_there(command: str) -> None:
    assert f"python3 -m venv .venv && . .venv/bin/activate && {command}\n" in README


def test_the_continuous_run_calls_the_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "pip install -q '.[test]'" in script
    assert re.search(r"^pytest", script, re.MULTILINE)

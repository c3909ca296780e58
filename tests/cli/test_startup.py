"""Starting the program: how long its help takes, what it imports, what bare `runner` says."""

import subprocess
import sys
import time
from statistics import median

HEAVY = ("torch", "ray", "transformers", "datasets", "peft", "bitsandbytes", "rich", "pydantic", "yaml", "numpy")
REPEATS = 7


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def test_help_takes_at_most_two_and_a_half_times_importing_typer() -> None:
    pairs = [(seconds("-m", "runner", "--help"), seconds("-c", "import typer")) for _ in range(REPEATS)]
    help_s, typer_s = (median(column) for column in zip(*pairs, strict=True))
    assert help_s <= 2.5 * typer_s, f"{help_s:.3f} s against {typer_s:.3f} s"


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from runner.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print('heavy:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "Commands:" in shown
    assert shown.splitlines()[-1] == "heavy: []"


def test_a_wrong_job_is_told_before_anything_heavy_is_imported() -> None:
    script = (
        "import sys\n"
        "from runner.cli import main\n"
        "try:\n    main(['train', '-o', 'lora.rank=0'])\nexcept SystemExit as end:\n    print('code', end.code)\n"
        "print('heavy:', sorted({'torch', 'ray', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines() == ["code 2", "heavy: []"]


def test_bare_runner_names_three_first_things_to_type() -> None:
    shown = subprocess.run([sys.executable, "-m", "runner"], check=True, capture_output=True, text=True).stdout
    lines = [line.split("  ")[1] for line in shown.splitlines() if line.startswith("  runner ")]
    assert lines == ["runner train", "runner plan", "runner doctor"]
    for line in lines:
        subprocess.run([sys.executable, "-m", *line.split(), "--help"], check=True, capture_output=True)

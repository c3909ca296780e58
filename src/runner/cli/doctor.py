"""``runner doctor``: whether this machine is ready, one line a check.

The checks themselves are in ``checks`` and ``ray_checks``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from runner.cli.options import CACHE, Storage, kept_in

if TYPE_CHECKING:
    from runner.cli.checks import Check

WIDTH = 14  # columns of a check's name


def doctor(storage: Storage = None) -> None:
    """Check whether this machine is ready.

    Versions, devices, quantization, disk, hub, Ray.  Ends with 1 when a check fails.
    """
    failed = 0
    for check in _checks(kept_in(storage)):
        failed += check.verdict == "fail"
        typer.echo(f"{check.verdict:5} {check.name:{WIDTH}} {check.found}")
        if check.remedy:
            typer.echo(f"{'':5} {'':{WIDTH}} -> {check.remedy}")
    if failed:
        typer.echo(f"\n{failed} {'check' if failed == 1 else 'checks'} failed")
        raise typer.Exit(1)
    typer.echo("\nready; start with: runner train")


def _checks(storage: Path) -> "Iterator[Check]":
    """Every check in turn, the quick ones first."""
    from runner.cli import checks, ray_checks

    yield checks.check_python()
    yield checks.check_packages()
    yield checks.check_disk("disk of runs", storage)
    yield checks.check_disk("disk of cache", CACHE)
    yield checks.check_shared_memory()
    yield ray_checks.check_token_file()
    yield from ray_checks.check_clusters()
    yield checks.check_token()
    yield checks.check_hub()
    yield from checks.check_devices()
    yield checks.check_threads()
    yield checks.check_quantization()

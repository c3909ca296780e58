"""The direction of imports: from the command line down to the errors, never back, and Ray in two packages only."""

import ast
from pathlib import Path

import runner

SOURCE = Path(runner.__file__).parent
# a package may import those of a higher number, and itself
LAYERS = {
    "cli": 0,
    "search": 1,
    "distributed": 2,
    "train": 3,
    "plan": 4,
    "report": 5,
    "evaluation": 6,
    "model": 7,
    "data": 7,
    "runs": 7,
    "config": 8,
    "errors": 9,
}
RAY_MAY_STAND_IN = {"distributed", "search"}


def modules() -> list[Path]:
    found = [path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem == "errors"]
    assert len(found) > 40
    return found


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def test_imports_point_one_way() -> None:
    wrong = []
    for path in modules():
        here = package_of(path)
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != "runner" or len(parts) == 1:
                continue
            if parts[1] != here and LAYERS[parts[1]] <= LAYERS[here]:
                wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert not wrong


def test_ray_stands_only_where_jobs_are_distributed() -> None:
    wrong = [
        str(path.relative_to(SOURCE))
        for path in modules()
        if package_of(path) not in RAY_MAY_STAND_IN and any(name.split(".")[0] == "ray" for name in imported(path))
    ]
    assert not wrong


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert packages <= LAYERS.keys()

"""Plots as files beside a page: SVG always, PNG where the renderer and a font are there.

What is drawn is the pages'.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from runner.report.drawing import LIGHT, MARKS, Plot
from runner.runs.durable import write_file

ZOOM = 2.0  # pixels of the image for one of the plot
MARGIN = 14  # around a plot, in its pixels
RENDERER = "resvg_py"
_SIZE = re.compile(r'width="(\d+)" height="(\d+)"')
_LETTER = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><text y="30" font-size="30">{}</text></svg>'


def write_plots(page: Path, plots: Iterable[Plot]) -> tuple[Path, ...]:
    """Write each plot as ``PLOT.svg`` and ``.png`` into ``plots_folder``; returns the files.

    There is no PNG where no renderer is installed or the machine has no font to write with.
    """
    files: list[Path] = []
    folder = plots_folder(page)
    for plot in plots:
        folder.mkdir(exist_ok=True)
        file = folder / f"{plot.name.replace('.', '-')}.svg"
        write_file(file, plot.file().encode())
        files.append(file)
        image = png_of(plot)
        if image is not None:
            write_file(file.with_suffix(".png"), image)
            files.append(file.with_suffix(".png"))
    return tuple(files)


def plots_folder(page: Path) -> Path:
    """Where the plots of ``page`` lie."""
    return page.with_name(f"{page.stem}-plots")


def png_of(plot: Plot) -> bytes | None:
    """The plot in its light colours as a PNG; None where it cannot be made."""
    if not can_render():
        return None
    return _render(flat(plot.svg, LIGHT))


def flat(svg: str, colours: Mapping[str, str]) -> str:
    """``svg`` with a margin, its style in it and every colour written out, for programs that know no variables."""
    style = re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], MARKS).replace("system-ui, -apple-system, ", "")
    _, _, rest = svg.partition(">")
    width, height = (int(found) + 2 * MARGIN for found in _SIZE.findall(svg)[0])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-{MARGIN} -{MARGIN} {width} {height}" width="{width}" '
    ground = f'<rect class="ground" x="-{MARGIN}" y="-{MARGIN}" width="{width}" height="{height}"/>'
    return f'{head}height="{height}"><style>{style}</style>{ground}{rest}'


@cache
def can_render() -> bool:
    """Whether the renderer is installed and draws a letter."""
    try:
        return _render(_LETTER.format("M")) != _render(_LETTER.format(""))
    except ImportError:
        return False


def _render(svg: str) -> bytes:
    renderer: Any = import_module(RENDERER)
    return bytes(renderer.svg_to_bytes(svg_string=svg, zoom=ZOOM))

"""The part of a page that tells how training went: losses, their parts, speed and memory over steps.

Reading the records is ``curve``'s; drawing lines ``lines``'s.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from runner.report.curve import PAPER_STEP, Curve, losses, of_kind, read_curve, smoothed
from runner.report.drawing import Plot, Size
from runner.report.lines import Heading, Line, lines_plot
from runner.report.page_parts import drawn
from runner.report.wording import loss
from runner.runs import Record

Draw = Callable[[Size], Plot]


def learning(records: Sequence[Record]) -> Iterator[str]:
    """The plots as HTML, and in words what the steps after 500 and the plateau brought; nothing of no records."""
    draws = learning_plots(records)
    if not draws:
        return
    yield f'<div class="plots">{"".join(drawn(draw) for draw in draws)}</div>'
    told = remarks(records)
    if told:
        yield "<ul>" + "".join(f"<li>{escape(words)}</li>" for words in told) + "</ul>"


def learning_plots(records: Sequence[Record]) -> tuple[Draw, ...]:
    """What to draw of a run's records, each in any size."""
    curve = read_curve(records)
    draws: list[Draw] = []
    if curve.last_step and len(curve.train) + len(curve.validation) >= 2:
        draws.append(lambda size: loss_plot(curve, size))
    parts = _parts(records)
    if parts:
        draws.append(lambda size: parts_plot(parts, curve, size))
    for key, title, inks in (("tokens_per_s", "Tokens a second", "line"), ("peak_gib", "Peak memory, GiB", "early")):
        points = losses(records, "train", key)
        if len(points) > 1 and any(value for _, value in points):
            draws.append(lambda size, k=key, t=title, p=points, i=inks: _of_steps(k, t, p, i, size))  # type: ignore[misc]
    return tuple(draws)


def loss_plot(curve: Curve, size: Size) -> Plot:
    """Training loss raw and smoothed, validation loss with its points, and the marks."""
    lines = [
        Line("", curve.train, "thin"),
        Line("training, smoothed", smoothed(curve.train), "line"),
        Line("validation", curve.validation, "bold", "mine"),
    ]
    marks = ", ".join(f"{mark.name} at step {mark.step:,}" for mark in curve.marks)
    ends = "; ".join(f"{line.name} ends at {loss(line.points[-1][1])}" for line in lines if line.name and line.points)
    about = f"{ends}{f'; {marks}' if marks else ''}."
    return lines_plot(Heading("loss", "Loss, nats a token", about), lines, size, marks=curve.marks)


def parts_plot(lines: Sequence[Line], curve: Curve, size: Size) -> Plot:
    """The loss of the think part and of the code part, in training (smoothed) and on held-out questions."""
    ends = "; ".join(f"{line.name} ends at {loss(line.points[-1][1])}" for line in lines)
    heading = Heading("parts", "Loss of thinking and of code, nats a token", f"{ends}.")
    return lines_plot(heading, lines, size, marks=curve.marks)


def _parts(records: Sequence[Record]) -> list[Line]:
    """Think and code where the records tell them apart; else nothing."""
    lines = []
    for key, name, ink, dots in (("think_loss", "thinking", "early", ""), ("answer_loss", "code", "bold", "mine")):
        held_out = losses(records, "validation", key)
        points = held_out if len(held_out) > 1 else smoothed(losses(records, "train", key))
        if points:
            lines.append(Line(f"{name}, held out" if points == held_out else name, points, ink, dots))
    return lines if len(lines) == 2 else []


def _of_steps(key: str, title: str, points: Sequence[tuple[int, float]], ink: str, size: Size) -> Plot:
    name = "a step" if key == "tokens_per_s" else "so far"
    told: Callable[[float], str] = "{:,.0f}".format if key == "tokens_per_s" else "{:.2f}".format
    heading = Heading(key.replace("_", "-"), title, f"{title} by optimizer step; at the end {told(points[-1][1])}.")
    return lines_plot(heading, [Line(name, points, ink)], size, told=told, from_zero=True)


def remarks(records: Sequence[Record]) -> list[str]:
    """What the lines show, in words: the gain after step 500, and why training ended early if it did."""
    held_out = losses(records, "validation")
    found = []
    early = [point for point in held_out if 0 < point[0] <= PAPER_STEP]
    if early and held_out[-1][0] > PAPER_STEP:
        gain = early[-1][1] - held_out[-1][1]
        moved = f"fell by {gain:.4f}" if gain >= 0 else f"rose by {-gain:.4f}"
        found.append(f"After step {early[-1][0]:,} the validation loss {moved} nats a token.")
    found += [str(record.get("text")) for record in of_kind(records, "event") if record.get("name") == "plateau"]
    return found

"""The end of a run on one screen: its curve, its losses, questions solved, speed, time, and where everything lies.

The run is read by ``runner.runs``; pages and images are made elsewhere.
"""

from collections.abc import Sequence

from runner.evaluation.intervals import Share, overlap
from runner.report.commands import Command, command_lines
from runner.report.curve import PAPER_STEP, Curve, Point, losses, number, of_kind, read_curve
from runner.report.facts import Facts, facts_of, passes, state_of
from runner.report.layout import LABEL, labelled, wrapped
from runner.report.style import Style
from runner.report.terminal import draw, legend
from runner.report.wording import duration
from runner.runs import LoadedRun, Record, RunFolder, RunSummary
from runner.runs.remote.layout import read_origin

_BAR = 20
_SHORTEST_S = 0.05
_PARTS = (("think_loss", "think part"), ("answer_loss", "answer part"))


def summary(run: LoadedRun, style: Style, commands: Sequence[Command] = ()) -> str:
    """Everything worth knowing of ``run``, at most ``style.width`` columns wide where its names allow.

    Parts that the run has no records of are left out.  The same records give the same text.
    """
    curve = read_curve(run.records)
    parts = (
        (_heading(run.summary, style),),
        _plot(curve, style),
        _losses(run.records, style),
        _solved(run.records, style),
        _speed(run, style),
        _interruptions(run.records, style),
        _places(run.folder, style),
        command_lines(commands, style),
    )
    return "\n\n".join("\n".join(part) for part in parts if part)


def _heading(summary: RunSummary, style: Style) -> str:
    return f"{style.ink(summary.name, 'strong')}  {state_of(summary)}"


def _plot(curve: Curve, style: Style) -> tuple[str, ...]:
    lines = draw(curve, style)
    if not lines:
        return ()
    return (f"loss, nats a token   {legend(curve, style)}", *lines)


def _losses(records: Sequence[Record], style: Style) -> tuple[str, ...]:
    """The validation loss from first to last, its parts, its lowest, and what the steps after 500 brought."""
    points = losses(records, "validation")
    if not points:
        return ()
    lines = [labelled("validation", _change(points, style), style)]
    for key, name in _PARTS:
        part = losses(records, "validation", key)
        if part and part != points:  # a part that is all there is adds nothing
            lines.append(labelled(f"  {name}", _change(part, style), style))
    best = min(points, key=lambda point: point[1])
    if best != points[-1]:
        lines.append(labelled("  lowest", f"{best[1]:.4f} at step {best[0]:,}", style))
    early = [point for point in points if 0 < point[0] <= PAPER_STEP]
    if early and points[-1][0] > PAPER_STEP:
        gain = early[-1][1] - points[-1][1]
        fell = f"fell by {gain:.4f}" if gain >= 0 else f"rose by {-gain:.4f}"
        lines.append(labelled("", f"after step {early[-1][0]:,} it {fell}", style))
    plateaus = [record.get("text") for record in of_kind(records, "event") if record.get("name") == "plateau"]
    for text in plateaus:
        lines += wrapped("", str(text).split(" "), style, joint=" ")
    return tuple(lines)


def _interruptions(records: Sequence[Record], style: Style) -> tuple[str, ...]:
    """Where the run was gone on with, what the watchdog ended, and where memory ran out."""
    told = [record for record in of_kind(records, "event") if record.get("name") in ("resumed", "hang", "memory")]
    lines: list[str] = []
    for record in told:
        lines += wrapped("" if lines else "interrupted", str(record.get("text")).split(" "), style, joint=" ")
    return tuple(lines)


def _change(points: Sequence[Point], style: Style) -> str:
    """The first loss and the last, and the change between them; one alone with its step."""
    (step, first), (_, last) = points[0], points[-1]
    if len(points) == 1:
        return f"{first:.4f} at step {step:,}"
    percent = f" ({(last - first) / first:+.1%})" if first else ""
    return f"{first:.4f} {_arrow(style)} {last:.4f}{percent}"


def _solved(records: Sequence[Record], style: Style) -> tuple[str, ...]:
    """Questions solved before and after with 95 % intervals, by family, and what the failures were."""
    counts = passes(records)
    if not counts:
        return ()
    before, after = counts[0], counts[-1]
    lines = [labelled("solved", _share(after.all), style)]
    if len(counts) > 1:
        arrow = _arrow(style)
        unclear = "  (they overlap: no clear change)" if overlap(before.all, after.all) else ""
        lines = [
            labelled(
                "solved", f"{before.all.solved} {arrow} {after.all.solved} of {after.all.questions} questions", style
            ),
            labelled("", f"95 % intervals {_interval(before.all)} {arrow} {_interval(after.all)}{unclear}", style),
        ]
    lines += _families(before.families if len(counts) > 1 else {}, after.families, style)
    if after.failures:
        kinds = sorted(after.failures.items(), key=lambda item: -item[1])
        lines += wrapped("  not solved", [f"{count} {kind}" for kind, count in kinds], style)
    native = passes(records, "native")
    if native:
        base = native[0].all
        told = f"{base.solved} of {base.questions} in its own format (95 % interval {_interval(base)})"
        lines.append(labelled("  untuned", told, style))
    return tuple(lines)


def _families(before: dict[str, Share], after: dict[str, Share], style: Style) -> list[str]:
    """A line a family, with the count before only where there is one."""
    widest = max((len(name) for name in after), default=0)
    lines = []
    for name, share in after.items():
        first = f"{before[name].solved:>3} {_arrow(style)} " if name in before else ""
        filled = round(_BAR * share.solved / max(share.questions, 1))
        full, rest = ("█", "░") if style.unicode else ("#", ".")
        shown = style.ink(full * filled, "validation") + style.ink(rest * (_BAR - filled), "quiet")
        counts = f"{first}{share.solved:>3} of {share.questions:<3}"
        lines.append(f"{'':{LABEL}}  {name.replace('_', ' '):{widest}}  {counts}  {shown}")
    return lines


def _share(share: Share) -> str:
    return f"{share.solved} of {share.questions} questions (95 % interval {_interval(share)})"


def _interval(share: Share) -> str:
    low, high = share.interval()
    return f"{100 * low:.1f}-{100 * high:.1f} %"


def _speed(run: LoadedRun, style: Style) -> tuple[str, ...]:
    """Tokens a second, peak memory, and where the time went."""
    steps = of_kind(run.records, "train")
    if not steps:
        return ()
    facts, lines = facts_of(run), []
    if facts.tokens_per_s is not None:
        told = f"{facts.tokens_per_s:,.0f} tokens/s (median of {facts.timed_steps:,} steps)"
        lines.append(labelled("speed", told, style))
    if facts.peak_gib is not None:
        lines.append(labelled("peak memory", f"{facts.peak_gib:.2f} GiB", style))
    making = [seconds for record in steps if (seconds := number(record.get("data_s"))) is not None]
    if making and facts.training_s:
        lines.append(labelled("  batches", f"{sum(making) / facts.training_s:.2%} of the steps' time", style))
    return (*lines, *_time(run, facts, style))


def _time(run: LoadedRun, facts: Facts, style: Style) -> list[str]:
    starts = [_startup(record) for record in of_kind(run.records, "startup")]
    parts = [f"start-up {duration(sum(sum(start.values()) for start in starts))}"] if starts else []
    if len(starts) > 1:
        parts[0] += f" in {len(starts)} starts"
    parts += [f"training {duration(facts.training_s)}"]
    parts += [f"validation {duration(facts.validation_s)}"] if facts.validation_s else []
    parts += [f"{duration(run.summary.seconds)} from start to end"] if len(starts) == 1 and run.summary.seconds else []
    lines = wrapped("time", parts, style)
    if starts and starts[-1]:
        places = [f"{name} {duration(seconds)}" for name, seconds in starts[-1].items() if seconds >= _SHORTEST_S]
        lines += wrapped("  start-up", places, style)
    return lines


def _startup(record: Record) -> dict[str, float]:
    """Seconds by part, from keys such as ``model_s``."""
    found = {key: number(value) for key, value in record.items() if key.endswith("_s")}
    return {key.removesuffix("_s").replace("_", " "): value for key, value in found.items() if value is not None}


def _places(folder: RunFolder, style: Style) -> tuple[str, ...]:
    """What the run left behind, of what there is."""
    known = (
        ("final", folder.final, "weights after the last step"),
        ("best", folder.best, "weights at the lowest validation loss"),
        ("checkpoints", folder.checkpoints, "to resume from"),
        ("metrics", folder.metrics_file, "every record, one JSON a line"),
        ("curve", folder.curve_file, "the loss curve as an image"),
        ("events", folder.events, "for tensorboard --logdir"),
        ("job", folder.job_file, "the resolved job; runs again from there"),
    )
    there = [(path.name + ("/" if path.is_dir() else ""), what) for _, path, what in known if path.exists()]
    widest = max((len(name) for name, _ in there), default=0)
    lines = [f"  {name:{widest}}  {style.ink(what, 'quiet')}" for name, what in there]
    origin = read_origin(folder.root)
    places = f"{origin.url}, and on this machine in {folder.root}" if origin is not None else folder.root
    return (f"{style.ink('in', 'quiet')} {places}", *lines)


def _arrow(style: Style) -> str:
    return "→" if style.unicode else "->"

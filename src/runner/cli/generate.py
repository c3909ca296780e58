"""``runner generate``: a question to a run's model, from standard input or in a chat, answered as it is written.

The prompts are in ``runner.evaluation.uses``, the tokens made in ``runner.evaluation.generation``.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from runner.cli.options import Storage, kept_in
from runner.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from runner.config.job import Job
    from runner.evaluation.generation import AnswerEncoder, Sampling
    from runner.evaluation.uses import Turn, UseName
    from runner.report.style import Style
    from runner.runs import RunFolder

Answering: TypeAlias = Literal["final", "best", "base"]

BLOCK = '"""'
HINTS = f"Enter sends; {BLOCK} begins and ends several lines; Ctrl-C stops an answer; Ctrl-D ends."


def generate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, as `runner runs` lists them.")],
    use: Annotated[
        Literal["tutor", "reviewer", "debugger"] | None,
        typer.Option("--as", help="Put a ready instruction before what is asked."),
    ] = None,
    weights: Annotated[Answering, typer.Option(help="Which weights answer; base: the untuned model.")] = "final",
    max_new_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Longest answer; as long as a training document when left out."),
    ] = None,
    temperature: Annotated[float, typer.Option(metavar="T", min=0.0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the draws, where the temperature is above 0.")] = 17,
    chat: Annotated[bool, typer.Option("--chat", help="Ask on, also where standard input is no terminal.")] = False,
    storage: Storage = None,
) -> None:
    """Ask a run's model; the question comes from standard input.

    In a terminal it becomes a small chat. The reasoning is shown dim, the answer plain.
    """
    chatting = chat or sys.stdin.isatty()
    asked = "" if chatting else sys.stdin.read()
    if not chatting and not asked.strip():
        raise UserError("nothing was asked", "standard input is empty", f"echo QUESTION | runner generate {run}")
    from runner.config.load import load_job
    from runner.evaluation.generation import Sampling
    from runner.runs import load_run

    sampling = Sampling(temperature=temperature, seed=seed)
    folder = load_run(kept_in(storage, run=run, with_folders=(weights,)), run).folder
    answerer = _loaded(load_job(folder.job_file), folder, weights, sampling, max_new_tokens)
    if chatting:
        _chat(answerer, use)
    else:
        _show(answerer.answer(_prompt(use, asked, [])))


@dataclass(frozen=True)
class Answerer:
    """A model that is ready to answer, with at most ``limit`` tokens."""

    model: "nn.Module"
    encoder: "AnswerEncoder"
    sampling: "Sampling"
    limit: int
    positions: int  # that the model has; 0: no limit

    def answer(self, prompt: str) -> Generator[str]:
        """The answer in pieces, as long as there are positions; ``UserError`` where the prompt leaves none."""
        from runner.evaluation.generation import prompt_ids, stream

        length = len(prompt_ids(self.encoder, [prompt])[0])
        room = self.positions - length if self.positions else self.limit
        if room < 1:
            raise UserError(
                f"the prompt has {length:,} tokens and the model {self.positions:,} positions",
                "what is asked, with its instruction and the turns before",
                "ask something shorter, or begin a new chat",
            )
        limit = min(self.limit, room)
        yield from stream(self.model, self.encoder, prompt, sampling=self.sampling, max_new_tokens=limit)


def _loaded(job: "Job", folder: "RunFolder", weights: Answering, sampling: "Sampling", limit: int | None) -> Answerer:
    """The model of the run, with a line on standard error while it loads."""
    from runner.cli.ticker import Ticker

    ticker = Ticker(sys.stderr)
    ticker.show(f"loading {job.model.id} ...")
    from runner.model.tokenizer import load_encoder
    from runner.plan import read_positions
    from runner.train.inference import as_trained, load_for_inference, load_untuned
    from runner.train.world import best_device

    job = as_trained(job, folder)
    if weights == "base":
        model, encoder = load_untuned(job, best_device()), load_encoder(job.model)
    else:
        loaded = load_for_inference(job, folder, weights, best_device())
        model, encoder = loaded.model, loaded.encoder
    ticker.clear()
    return Answerer(model, encoder, sampling, limit or job.data.max_length, read_positions(job.model))


def _prompt(use: "UseName | None", asked: str, before: "list[Turn]") -> str:
    from runner.evaluation.uses import prompt_for

    return prompt_for(use, asked, before)


def _chat(answerer: Answerer, use: "UseName | None") -> None:
    """Question after question until the end of input; an answer that is stopped counts as far as it came."""
    from runner.evaluation.uses import Turn

    typing = sys.stdin.isatty()
    if typing:
        typer.echo(HINTS, err=True)
    turns: list[Turn] = []
    while (asked := read_question(input if typing else _line)) is not None:
        if not asked.strip():
            continue
        try:
            answer = _show(answerer.answer(_prompt(use, asked, turns)))
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            turns.clear()
            continue
        turns.append(Turn(asked, answer))


def _line(_prompt: str) -> str:
    """The next line of a chat that comes from a file; a prompt would stand among the answers."""
    return input()


def read_question(read: Callable[[str], str]) -> str | None:
    """What is asked next: a line, or the lines of a block; None at the end of input.

    Ctrl-C takes back what was typed.
    """
    while True:
        try:
            first = read("> ")
            if first.strip() != BLOCK:
                return first
            lines: list[str] = []
            while (line := read("  ")).strip() != BLOCK:
                lines.append(line)
            return "\n".join(lines)
        except EOFError:
            return None
        except KeyboardInterrupt:
            typer.echo("", err=True)


def _show(pieces: Generator[str]) -> str:
    """Write the answer as it comes, its thoughts dim; Ctrl-C in a terminal ends it.  Returns the text so far."""
    from runner.report.style import style_of

    answer: list[str] = []
    try:
        for piece in shaded(_noted(pieces, answer), style_of(sys.stdout)):
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
    finally:
        pieces.close()  # the model is put back
        sys.stdout.write("\n" if answer else "")
    return "".join(answer)


def _noted(pieces: Iterable[str], answer: list[str]) -> Iterator[str]:
    for piece in pieces:
        answer.append(piece)
        yield piece


def shaded(pieces: Iterable[str], style: "Style") -> Iterator[str]:
    """The same text, quiet up to and with the closing think tag, which may be spread over pieces."""
    from runner.data.template import THINK_CLOSE

    thinking, held = True, ""
    for piece in pieces:
        if not thinking:
            yield piece
            continue
        thoughts, closed, rest = (held + piece).partition(THINK_CLOSE)
        keep = 0 if closed else _begun(thoughts, THINK_CLOSE)
        held = thoughts[len(thoughts) - keep :]
        yield style.ink(thoughts[: len(thoughts) - keep] + closed, "quiet")
        if closed:
            thinking = False
            yield rest
    yield style.ink(held, "quiet") if thinking else ""


def _begun(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``tag``."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)

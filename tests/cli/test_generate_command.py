"""`runner generate`: what is asked of which weights, what is shown dim, and how a chat goes on."""

import io
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import typer

import runner.cli.generate as command
import runner.evaluation.generation
from finished_run import small_job
from greedy import greedy
from runner.cli.generate import generate, read_question, shaded
from runner.errors import UserError
from runner.evaluation.uses import Turn, UseName, prompt_for
from runner.report.style import Style
from runner.runs import RunFolder
from runner.train.inference import load_for_inference
from runner.train.world import best_device
from typed import output_of

app = typer.Typer()
app.command()(generate)
QUESTION = "Write solve(words) that reverses a list."


def run(folder: RunFolder, asked: str, *words: str) -> str:
    return output_of(app, [folder.name, "--storage", str(folder.root.parent), *words], asked=asked)


def test_the_answer_is_the_models_greedy_one_in_whole(small_run: RunFolder) -> None:
    loaded = load_for_inference(small_job(), small_run, "final", best_device())
    uses: tuple[UseName | None, ...] = (None, "tutor")
    for use in uses:
        prompt = prompt_for(use, QUESTION)
        (expected,) = greedy(loaded.model, loaded.encoder, [prompt], max_new_tokens=12)
        words = ("--as", use) if use else ()
        assert run(small_run, QUESTION, "--max-new-tokens", "12", *words) == f"{expected}\n"


def test_each_kind_of_weights_answers_for_itself(small_run: RunFolder) -> None:
    words = ("--max-new-tokens", "12")
    base = run(small_run, QUESTION, "--weights", "base", *words)
    assert base != run(small_run, QUESTION, "--weights", "final", *words)
    loaded = load_for_inference(small_job(), small_run, "best", best_device())
    with loaded.base() as model:
        (expected,) = greedy(model, loaded.encoder, [prompt_for(None, QUESTION)], max_new_tokens=12)
    assert base == f"{expected}\n"


def test_a_seed_draws_the_same_answer_again(small_run: RunFolder) -> None:
    words = ("--max-new-tokens", "24", "--temperature", "1.5", "--seed")
    first = run(small_run, QUESTION, *words, "1")
    assert first == run(small_run, QUESTION, *words, "1")
    assert first != run(small_run, QUESTION, *words, "2")


def test_nothing_asked_is_refused_before_a_model_is_loaded(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_loaded", None)
    with pytest.raises(UserError, match="nothing was asked; standard input is empty"):
        run(small_run, " \n")


def test_a_prompt_longer_than_the_model_reads_is_refused(small_run: RunFolder) -> None:
    with pytest.raises(UserError, match="tokens and the model 2,048 positions"):
        run(small_run, "word " * 3000)


def test_a_chat_goes_on_with_the_turns_before(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []

    def answering(_model: Any, _encoder: Any, prompt: str, **_options: Any) -> Iterator[str]:
        prompts.append(prompt)
        yield from ("thoughts</th", f"ink>\n\nanswer {len(prompts)}")

    monkeypatch.setattr(runner.evaluation.generation, "stream", answering)
    out = run(small_run, 'first\n\n"""\nline one\n  line two\n"""\n', "--chat", "--as", "reviewer")
    turn = Turn("first", "thoughts</think>\n\nanswer 1")
    assert prompts == [
        prompt_for("reviewer", "first"),
        prompt_for("reviewer", "line one\n  line two", [turn]),
    ]
    assert out == "thoughts</think>\n\nanswer 1\nthoughts</think>\n\nanswer 2\n"


def test_questions_are_lines_or_blocks_and_an_interrupt_takes_back_what_was_typed() -> None:
    typed: list[str | type[BaseException]] = [
        "one",
        '"""',
        "half",
        KeyboardInterrupt,
        '"""',
        "a",
        "",
        "b",
        '"""',
        EOFError,
    ]

    def read(_prompt: str) -> str:
        line = typed.pop(0)
        if isinstance(line, str):
            return line
        raise line

    assert [read_question(read), read_question(read), read_question(read)] == ["one", "a\n\nb", None]


@pytest.mark.parametrize("pieces", [["ab</think>cd"], ["a", "b</", "thi", "nk>", "cd"], list("ab</think>cd")])
def test_thoughts_are_dim_up_to_the_tag_however_it_is_cut(pieces: list[str]) -> None:
    assert "".join(shaded(pieces, Style(color=False))) == "ab</think>cd"
    colored = "".join(shaded(pieces, Style(color=True)))
    assert colored.replace("\x1b[0m\x1b[2m", "") == "\x1b[2mab</think>\x1b[0mcd"


@pytest.mark.parametrize("text", ["no tag", "almost </thin", "x < y </ z"])
def test_thoughts_that_never_close_are_shown_whole(text: str) -> None:
    for pieces in ([text], list(text)):
        assert "".join(shaded(pieces, Style(color=False))) == text


def test_an_interrupted_answer_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    def pieces() -> Generator[str]:
        try:
            yield "begun"
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    assert command._show(pieces()) == "begun"
    assert closed == [True]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        command._show(pieces())

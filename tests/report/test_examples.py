"""Six problems by a fixed rule, and their answers taken apart."""

import hashlib
import html
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_fakes import graded, made_up_evaluation
from runner.report.examples import choose, taken_apart
from runner.report.highlight import highlighted

COUNTS = {"newly": 9, "lost": 8, "both": 7, "neither": 6}


def drawn(name: str, seed: int = 17) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def test_all_kinds_are_shown_and_the_first_of_each_by_its_hash() -> None:
    found = made_up_evaluation(COUNTS)
    chosen = choose(found)
    assert len(chosen) == 6
    names = [f"held-out/{number}" for number in range(30)]
    kinds = {"newly solved": names[:9], "lost": names[9:17], "solved by both": names[17:24]}
    kinds["solved by neither"] = names[24:]
    first = {kind: sorted(of_kind, key=drawn) for kind, of_kind in kinds.items()}
    expected = {*first["newly solved"][:2], *(first[kind][0] for kind in list(kinds)[1:])}
    sixth = min((name for name in names if name not in expected), key=drawn)
    assert {example.problem.problem for example in chosen} == expected | {sixth}
    assert Counter(example.kind for example in chosen) >= Counter(
        {"newly solved": 2, "lost": 1, "solved by both": 1, "solved by neither": 1}
    )


def test_order_of_the_problems_changes_nothing() -> None:
    found = made_up_evaluation(COUNTS)
    turned = replace(found, problems=found.problems[::-1], answers=found.answers[::-1])
    assert choose(found) == choose(turned)


def test_another_seed_draws_others() -> None:
    chosen = [[e.problem.problem for e in choose(made_up_evaluation(COUNTS, seed=seed))] for seed in (17, 18)]
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize("kind", ["newly", "lost", "both", "neither"])
def test_others_fill_the_place_of_an_empty_kind(kind: str) -> None:
    chosen = choose(made_up_evaluation({**COUNTS, kind: 0}))
    assert len({example.problem.problem for example in chosen}) == 6
    assert len({example.kind for example in chosen}) == 3


def test_few_problems_are_all_shown() -> None:
    assert len(choose(made_up_evaluation({"newly": 1, "neither": 2}))) == 3


def test_of_one_arm_alone_its_answers_are_shown() -> None:
    found = made_up_evaluation(COUNTS)
    tuned = replace(found, answers=tuple(answer for answer in found.answers if answer.arm == "tuned"))
    assert all(len(example.answers) == 1 for example in choose(tuned))
    assert Counter(example.kind for example in choose(tuned)).keys() == {"solved by both", "solved by neither"}


def test_an_answer_is_thought_and_rest() -> None:
    assert taken_apart(graded("p", "base", True, text="<think>\na\n</think>\n\nb")) == ("a", "b")
    assert taken_apart(graded("p", "base", True, text="a</think>b</think>c")) == ("a", "b</think>c")
    assert taken_apart(graded("p", "base", True, text="never closed")) == ("", "never closed")


def test_keywords_strings_numbers_and_comments_are_told_apart() -> None:
    marked = highlighted('for x in f"a#b":  # if "so"\n    y = 12 + not_if  # <b>')
    assert re.findall(r'<span class="(\w)">(.*?)</span>', marked) == [
        ("k", "for"),
        ("k", "in"),
        ("s", 'f"a#b"'),
        ("c", '# if "so"'),
        ("n", "12"),
        ("c", "# &lt;b&gt;"),
    ]


@given(st.text(alphabet=st.sampled_from("ab1'\"#\\\n<&>=+ rf()"), max_size=60))
def test_marked_code_is_the_code_and_nothing_else(code: str) -> None:
    marked = highlighted(code)
    assert html.unescape(re.sub(r'<span class="[cskn]">|</span>', "", marked)) == code
    assert not re.search(r"<(?!span class=\"[cskn]\">|/span>)", marked)

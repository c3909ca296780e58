"""Answers equal transformers' own, whatever is computed beside them, and the model is left as it was."""

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from conftest import tiny_llama, tiny_mistral, tiny_qwen2, tiny_qwen3, tiny_starcoder2
from greedy import greedy
from runner.config.job import Lora
from runner.errors import UserError
from runner.evaluation.generation import Sampling, complete, prompt_ids, serving, slots, stream
from runner.evaluation.generation.bench import compare_generation
from runner.model.adapter import add_adapter, causal_lm
from runner.model.attention import padded_attention
from runner.model.fused import fuse_layers

GREEDY = Sampling()
WARM = Sampling(samples=3, temperature=1.0, top_p=0.9)
NEVER = 128  # an id that no model here can give
NEW = 24
LENGTHS = (3, 17, 1, 40, 9, 17, 30, 2, 11)


class Numbers:
    """A tokenizer of ids written as numbers."""

    def __init__(self, eos_id: int = NEVER) -> None:
        self.eos_id, self.pad_id = eos_id, 0
        self.bos_ids: tuple[int, ...] = ()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(f"{number} " for number in ids)


def prompts_of(lengths: Sequence[int]) -> list[str]:
    generator = torch.Generator().manual_seed(3)
    return [Numbers().decode(torch.randint(1, 128, (length,), generator=generator).tolist()) for length in lengths]


PROMPTS = prompts_of(LENGTHS)


def lively(model: nn.Module) -> nn.Module:
    """Weights so large that answers differ and attention looks far back."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(6.0)
    return model.eval()


def windowed_starcoder2() -> nn.Module:
    return tiny_starcoder2(sliding_window=8)


MODELS = (tiny_starcoder2, windowed_starcoder2, tiny_llama, tiny_mistral, tiny_qwen2, tiny_qwen3)


def by_transformers(model: Any, prompt: str, *, eos_id: int = NEVER, new: int = NEW) -> tuple[int, ...]:
    """transformers' own greedy answer to one prompt alone, without end-of-sequence."""
    ids = torch.tensor(Numbers().encode([prompt]))
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=new,
        min_new_tokens=None,
        eos_token_id=eos_id,
        pad_token_id=0,
    )
    answer = out[0, ids.shape[1] :].tolist()
    return tuple(answer[: answer.index(eos_id)] if eos_id in answer else answer)


def ids_of(
    model: Any, prompts: Sequence[str] = PROMPTS, *, eos_id: int = NEVER, **options: Any
) -> list[tuple[int, ...]]:
    values = {"sampling": GREEDY, "max_new_tokens": NEW, **options}
    return [sample.ids for answers in complete(model, Numbers(eos_id), prompts, **values) for sample in answers]


@pytest.fixture(scope="module")
def starcoder2() -> Any:
    return lively(tiny_starcoder2())


@pytest.mark.parametrize("make", MODELS)
def test_greedy_answers_equal_those_of_transformers(make: Any) -> None:
    model = lively(make())
    expected = [by_transformers(model, prompt) for prompt in PROMPTS]
    assert len(set(expected)) == len(PROMPTS)
    for batch in (1, 4, 64):
        assert ids_of(model, batch=batch) == expected


def test_a_window_shorter_than_the_answer_changes_it() -> None:
    wide, narrow = (ids_of(lively(make())) for make in (tiny_starcoder2, windowed_starcoder2))
    assert wide != narrow


def test_an_answer_ends_at_the_end_token_while_others_go_on(starcoder2: Any) -> None:
    eos_id = by_transformers(starcoder2, PROMPTS[0])[5]
    expected = [by_transformers(starcoder2, prompt, eos_id=eos_id) for prompt in PROMPTS]
    for batch in (3, 64):
        answers = complete(starcoder2, Numbers(eos_id), PROMPTS, sampling=GREEDY, max_new_tokens=NEW, batch=batch)
        assert [answer.ids for (answer,) in answers] == expected
        assert [answer.cut for (answer,) in answers] == [len(ids) == NEW for ids in expected]
        assert [answer.text for (answer,) in answers] == [Numbers().decode(ids) for ids in expected]
    assert len(expected[0]) < NEW
    assert max(map(len, expected)) == NEW


class Unrecorded:
    """In the place of recordings, so that what they need is seen without a GPU: rounded rows and columns."""

    def run(self, step: Callable[[int, int], None], rows: int, columns: int) -> None:
        self.kinds.add((rows, columns))
        step(rows, columns)

    kinds: ClassVar[set[tuple[int, int]]] = set()


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """Eight tokens between two looks, rows and columns rounded; the kinds of steps made."""
    Unrecorded.kinds.clear()
    monkeypatch.setattr(slots, "replayable", lambda _lm, _device: True)
    monkeypatch.setattr(slots, "Replays", Unrecorded)
    monkeypatch.setattr(slots, "COLUMNS_STEP", 16)
    monkeypatch.setattr(serving, "steps_on", lambda _device: serving.STEPS_ON_DEVICE)
    return Unrecorded.kinds


@pytest.mark.parametrize("make", MODELS)
def test_looking_seldom_and_rounding_change_no_answer(make: Any, as_on_a_device: set[tuple[int, int]]) -> None:
    model = lively(make())
    eos_id = by_transformers(model, PROMPTS[0])[5]
    expected = [by_transformers(model, prompt, eos_id=eos_id) for prompt in PROMPTS]
    for batch in (1, 5, 7):
        answers = complete(model, Numbers(eos_id), PROMPTS, sampling=GREEDY, max_new_tokens=NEW, batch=batch)
        assert [answer.ids for (answer,) in answers] == expected
        assert [answer.cut for (answer,) in answers] == [len(ids) == NEW for ids in expected]
    rows, columns = (set(side) for side in zip(*as_on_a_device, strict=True))
    assert rows <= {1, 2, 4, 5, 7}
    assert all(count % 16 == 0 for count in columns)


def test_slots_go_with_their_last_user(starcoder2: Any) -> None:
    """The cache may take gigabytes: it goes with its last user, without a garbage collection."""
    gc.disable()
    try:
        held = slots.Slots(starcoder2, GREEDY, 1, 8)
        gone = weakref.ref(held)
        del held
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("seldom", [None, "as_on_a_device"])
def test_an_end_token_right_after_the_cap_leaves_the_answer_cut(
    starcoder2: Any, seldom: str | None, request: pytest.FixtureRequest
) -> None:
    if seldom:
        request.getfixturevalue(seldom)
    eos_id = by_transformers(starcoder2, PROMPTS[0])[5]
    first = by_transformers(starcoder2, PROMPTS[0]).index(eos_id)

    def answer(cap: int) -> Any:
        return complete(starcoder2, Numbers(eos_id), PROMPTS[:1], sampling=GREEDY, max_new_tokens=cap)[0][0]

    assert (len(answer(first).ids), answer(first).cut) == (first, True)
    assert (len(answer(first + 1).ids), answer(first + 1).cut) == (first, False)


def test_draws_do_not_change_with_the_batch(starcoder2: Any) -> None:
    eos_id = ids_of(starcoder2, sampling=WARM)[0][5]
    expected = ids_of(starcoder2, sampling=WARM, eos_id=eos_id, batch=1)
    assert len(set(expected)) > 2 * len(PROMPTS)
    assert len({len(ids) for ids in expected}) > 3
    for batch in (2, 5, 64):
        assert ids_of(starcoder2, sampling=WARM, eos_id=eos_id, batch=batch) == expected


def test_draws_change_with_the_seed_and_the_sample(starcoder2: Any) -> None:
    first = ids_of(starcoder2, sampling=WARM)
    other = ids_of(starcoder2, sampling=Sampling(samples=3, temperature=1.0, top_p=0.9, seed=18))
    assert sum(a == b for a, b in zip(first, other, strict=True)) < len(first) / 2
    assert len({*first[:3]}) == 3


def test_more_prompts_leave_the_draws_of_the_first_as_they_were(starcoder2: Any) -> None:
    assert ids_of(starcoder2, PROMPTS[:4], sampling=WARM) == ids_of(starcoder2, sampling=WARM)[: 4 * WARM.samples]


def test_a_streamed_answer_equals_the_completed_one(starcoder2: Any) -> None:
    eos_id = by_transformers(starcoder2, PROMPTS[0])[5]
    encoder = Numbers(eos_id)
    for sampling in (GREEDY, Sampling(temperature=0.7)):
        ((expected,),) = complete(starcoder2, encoder, PROMPTS[:1], sampling=sampling, max_new_tokens=NEW)
        pieces = list(stream(starcoder2, encoder, PROMPTS[0], sampling=sampling, max_new_tokens=NEW))
        assert "".join(pieces) == expected.text
        assert len(pieces) == len(expected.ids)


def test_adapters_count_and_leave_training_as_it_was() -> None:
    """The model as the training loop has it: adapters, written-out layers, dropout modes of its own."""
    base = lively(tiny_starcoder2())
    plain = ids_of(base)
    model = add_adapter(base, Lora(rank=4, alpha=8), dtype=torch.float32, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    lm = causal_lm(model)
    expected = [by_transformers(lm, prompt) for prompt in PROMPTS]
    assert expected != plain
    fuse_layers(model, kept=["all"] * 2)
    model.train()
    modes = [module.training for module in model.modules()]
    for implementation in ("sdpa", "eager"):
        lm.config._attn_implementation = implementation
        with padded_attention(lm):
            assert ids_of(model) == expected
        assert ids_of(model) == expected
        assert lm.config._attn_implementation == implementation
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    with padded_attention(lm), model.disable_adapter():  # type: ignore[operator]  # PEFT's
        assert ids_of(model) == plain


def test_the_mode_of_every_module_is_restored(starcoder2: Any) -> None:
    starcoder2.train()
    starcoder2.model.layers[0].eval()
    before = [module.training for module in starcoder2.modules()]
    greedy(starcoder2, Numbers(), PROMPTS, max_new_tokens=2)
    pieces = stream(starcoder2, Numbers(), PROMPTS[0], sampling=GREEDY, max_new_tokens=9)
    assert next(pieces)
    assert torch.is_grad_enabled()
    pieces.close()  # type: ignore[attr-defined]  # it is a generator
    assert [module.training for module in starcoder2.modules()] == before
    starcoder2.eval()


def test_progress_counts_the_prompts(starcoder2: Any) -> None:
    seen: list[int] = []
    complete(starcoder2, Numbers(), PROMPTS, sampling=WARM, max_new_tokens=3, batch=2, progress=seen.append)
    assert seen == list(range(1, len(PROMPTS) + 1))


def test_generation_ends_between_two_tokens_where_it_is_told_to(starcoder2: Any) -> None:
    starcoder2.train()
    before = [module.training for module in starcoder2.modules()]
    passes: list[int] = []
    hook = starcoder2.model.norm.register_forward_pre_hook(lambda *_: passes.append(1))

    class Enough(Exception):
        pass

    def between() -> None:
        if len(passes) == 3:
            raise Enough

    with pytest.raises(Enough):
        complete(starcoder2, Numbers(), PROMPTS, sampling=GREEDY, max_new_tokens=50, between=between)
    hook.remove()
    assert len(passes) == 3
    assert [module.training for module in starcoder2.modules()] == before
    starcoder2.eval()


def test_no_prompts_give_no_answers(starcoder2: Any) -> None:
    assert greedy(starcoder2, Numbers(), [], max_new_tokens=4) == []


def test_what_cannot_be_asked_is_said(starcoder2: Any) -> None:
    with pytest.raises(UserError, match="prompt 1 has no tokens"):
        greedy(starcoder2, Numbers(), ["5 6", ""], max_new_tokens=4)
    with pytest.raises(UserError, match="max_new_tokens is 0"):
        greedy(starcoder2, Numbers(), ["5 6"], max_new_tokens=0)
    starcoder2.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(UserError, match="layers of linear_attention"):
        greedy(starcoder2, Numbers(), ["5 6"], max_new_tokens=4)
    del starcoder2.config.layer_types


def test_holes_are_filled_from_the_end() -> None:
    assert slots._closed_up([0, 1, 2]) == ([0, 1, 2], [])
    assert slots._closed_up([]) == ([], [])
    assert slots._closed_up([1, 4, 6]) == ([4, 1, 6], [(4, 0), (6, 2)])


def test_a_prompt_begins_with_what_the_tokenizer_puts_first(starcoder2: nn.Module) -> None:
    encoder = Numbers()
    encoder.bos_ids = (7,)
    answers = complete(starcoder2, encoder, PROMPTS, sampling=GREEDY, max_new_tokens=NEW)
    written = complete(
        starcoder2, Numbers(), [f"7 {prompt}" for prompt in PROMPTS], sampling=GREEDY, max_new_tokens=NEW
    )
    assert answers == written
    assert answers != complete(starcoder2, Numbers(), PROMPTS, sampling=GREEDY, max_new_tokens=NEW)
    assert prompt_ids(encoder, ["3 4"]) == [(7, *Numbers().encode(["3 4"])[0])]
    with pytest.raises(UserError, match="prompt 0 has no tokens"):
        complete(starcoder2, encoder, [""], sampling=GREEDY, max_new_tokens=NEW)


def test_the_benchmark_counts_tokens_up_to_each_end(starcoder2: Any) -> None:
    eos_id = by_transformers(starcoder2, PROMPTS[0])[5]
    found = compare_generation(starcoder2, Numbers(eos_id), PROMPTS, max_new_tokens=NEW, batch=4, repeats=2)
    tokens = sum(len(by_transformers(starcoder2, prompt, eos_id=eos_id)) for prompt in PROMPTS)
    assert (found.ours.tokens, found.theirs.tokens) == (tokens, tokens)
    assert (found.same, found.prompts) == (len(PROMPTS), len(PROMPTS))
    assert len(found.ours.rates) == len(found.theirs.rates) == 2
    assert found.ratio == pytest.approx(found.ours.rate / found.theirs.rate)
    assert found.ours.spread >= 0


@pytest.mark.gpu
def test_recorded_steps_give_the_answers_of_plain_ones() -> None:
    model = lively(tiny_starcoder2())
    expected = ids_of(model, max_new_tokens=60), ids_of(model, sampling=WARM, max_new_tokens=60)
    model.cuda()
    for batch in (3, 64):
        assert ids_of(model, batch=batch, max_new_tokens=60) == expected[0]
        assert ids_of(model, sampling=WARM, batch=batch, max_new_tokens=60) == expected[1]

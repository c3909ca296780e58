"""Draws follow the softmax that a hand calculation gives, and repeat."""

import math

import pytest
import torch
from torch import Tensor

from runner.errors import UserError
from runner.evaluation.generation.sampling import Sampling, _exponentials, choose, draw_keys

LOGITS = (2.0, 0.5, -1.0, 1.5, -6.0, 0.0)
DRAWS = 200_000


def drawn(sampling: Sampling, draws: int = DRAWS) -> Tensor:
    """The share of each id among draws at different prompts, samples and positions."""
    keys = draw_keys(sampling.seed, [(prompt, sample) for prompt in range(20) for sample in range(10)])
    keys = keys.repeat(draws // len(keys))
    positions = torch.arange(draws) // 200
    ids = choose(torch.tensor([LOGITS]).expand(draws, -1), sampling, keys, positions)
    return torch.bincount(ids, minlength=len(LOGITS)) / draws


def softmax_by_hand(temperature: float, kept: tuple[int, ...]) -> list[float]:
    weights = [math.exp(logit / temperature) if number in kept else 0.0 for number, logit in enumerate(LOGITS)]
    return [weight / sum(weights) for weight in weights]


def close(shares: Tensor, expected: list[float]) -> bool:
    """Within five standard errors; what must not be drawn is not drawn at all."""
    errors = [5 * math.sqrt(p * (1 - p) / DRAWS) for p in expected]
    return all(abs(share - p) <= error for share, p, error in zip(shares.tolist(), expected, errors, strict=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_shares_are_those_of_the_softmax(temperature: float) -> None:
    expected = softmax_by_hand(temperature, kept=tuple(range(6)))
    assert close(drawn(Sampling(temperature=temperature)), expected)
    assert not close(drawn(Sampling(temperature=1.1 * temperature)), expected)


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, (0,)), (0.6, (0, 3)), (0.85, (0, 1, 3)), (0.95, (0, 1, 3, 5))])
def test_top_p_keeps_the_fewest_likeliest_that_reach_it(top_p: float, kept: tuple[int, ...]) -> None:
    assert close(drawn(Sampling(temperature=1.0, top_p=top_p)), softmax_by_hand(1.0, kept))


def test_an_unlikely_token_is_drawn_as_often_as_it_should() -> None:
    rare = math.exp(-6.0) / sum(map(math.exp, LOGITS))
    assert abs(float(drawn(Sampling(temperature=1.0))[4]) / rare - 1) < 0.35  # 35 draws expected


def test_temperature_zero_takes_the_largest() -> None:
    assert drawn(Sampling(), 200).tolist() == [1.0, 0, 0, 0, 0, 0]


def test_each_integer_changes_the_noise_and_nothing_else_does() -> None:
    def noise(seed: int, prompt: int, sample: int, position: int) -> list[float]:
        keys = draw_keys(seed, [(9, 9), (prompt, sample)])
        return [round(value, 6) for value in _exponentials(keys, torch.tensor([1, position]), 8)[1].tolist()]

    seen = [noise(*integers) for integers in ((1, 2, 3, 4), (2, 2, 3, 4), (1, 3, 3, 4), (1, 2, 4, 4), (1, 2, 3, 5))]
    assert len(set(map(tuple, seen))) == 5
    assert noise(1, 2, 3, 4) == seen[0]
    assert noise(-1, 2, 3, 4) != noise(2**64 - 2, 2, 3, 4)


def test_noise_is_the_first_numbers_of_splitmix64() -> None:
    """The generator in plain Python integers, from its paper."""

    def mixed(state: int) -> int:
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return state ^ state >> 31

    key, gamma = draw_keys(5, [(2, 1)]), 0x9E3779B97F4A7C15
    stream = mixed((int(key) + 7 * gamma) % 2**64)
    bits = [mixed((stream + count * gamma) % 2**64) >> 1 for count in range(1, 6)]
    expected = [-math.log1p(-number * 2.0**-63) for number in bits]
    assert _exponentials(key, torch.tensor([7]), 5)[0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "values",
    [{"samples": 0}, {"temperature": -0.1}, {"temperature": math.nan}, {"top_p": 0.0}, {"top_p": 1.1}, {"samples": 2}],
)
def test_values_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Sampling(**values)  # type: ignore[arg-type]  # one is an integer

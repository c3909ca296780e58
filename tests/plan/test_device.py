"""The device that is planned for: a card that is too old is refused."""

from dataclasses import dataclass

import pytest
import torch

from runner.cli.checks import check_devices
from runner.errors import UserError
from runner.plan import present_device

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """What torch tells of a card."""

    name: str
    capability: tuple[int, int]
    verdict: str


CARDS = [
    Card("Tesla V100", (7, 0), "fail"),
    Card("Tesla T4", (7, 5), "fail"),
    Card("NVIDIA A100", (8, 0), "ok"),
    Card("NVIDIA GeForce RTX 3090", (8, 6), "ok"),
    Card("NVIDIA H100", (9, 0), "ok"),
    Card("NVIDIA GeForce RTX 5090", (12, 0), "ok"),
]


@pytest.fixture(params=CARDS, ids=lambda card: card.name)
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A machine with this card."""
    found: Card = request.param
    told = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "mem_get_info": lambda _index: (15 * GIB, 16 * GIB),
        "memory_reserved": lambda _index: 0,
        "get_per_process_memory_fraction": lambda _index: 1.0,
        "get_device_name": lambda _index: found.name,
        "get_device_capability": lambda _index: found.capability,
    }
    for name, answer in told.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    return found


def test_a_card_without_bfloat16_is_refused_where_it_would_be_planned_for(card: Card) -> None:
    if card.verdict == "ok":
        device = present_device()
        assert (device.kind, device.name, device.free_gib) == ("cuda", card.name, 15.0)
        return
    with pytest.raises(UserError) as raised:
        present_device()
    assert str(raised.value) == (
        f"{card.name} has compute capability {card.capability[0]}.{card.capability[1]}; cuda:0; "
        "an NVIDIA GPU of the Ampere generation (RTX 30xx, A10, A100) or newer is needed, "
        "or hide it to train on the CPU (CUDA_VISIBLE_DEVICES=)"
    )


def test_doctor_tells_of_a_card_without_bfloat16(card: Card) -> None:
    (check,) = check_devices()
    assert (check.name, check.verdict) == ("cuda:0", card.verdict)
    assert check.found.startswith(f"{card.name}, 15.0 of 16.0 GiB free")
    assert ("compute capability 7" in check.found) == (card.verdict == "fail")
    assert ("Ampere" in check.remedy) == (card.verdict == "fail")

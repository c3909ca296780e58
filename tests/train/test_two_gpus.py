"""Two GPUs: each strategy gives the losses and the files of ``ddp``, and goes on from its checkpoint."""

from pathlib import Path

import pytest
import torch
from ranks import losses, records, train_together
from test_strategies import STEPS, changes, cut_short, files

BOUND = 0.03  # nats, of losses of about 7, in 16 bits: steps move the weights by more than that

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    root = tmp_path_factory.mktemp("two-gpus")
    jobs = {strategy: changes(strategy) for strategy in ("ddp", "zero2")}
    jobs |= {f"nf4-{strategy}": changes(strategy, **nf4()) for strategy in ("ddp", "zero2")}
    jobs["zero3"] = changes("zero3")  # last: what DeepSpeed leaves of it in a process takes gradients from zero2
    train_together({root / name: job for name, job in jobs.items()}, cache, ranks=2, kind="cuda")
    return root


def nf4() -> dict[str, object]:
    return {"model": {**changes("ddp")["model"], "quantization": "nf4"}}


@pytest.mark.parametrize(("name", "like"), [("zero2", "ddp"), ("zero3", "ddp"), ("nf4-zero2", "nf4-ddp")])
def test_losses_and_files_are_those_of_ddp_on_two_gpus(name: str, like: str, trained: Path) -> None:
    found, expected = losses(trained / name), losses(trained / like)
    assert list(found) == list(range(1, STEPS + 1))
    assert found == pytest.approx(expected, abs=BOUND)
    assert expected[1] - expected[STEPS] > 2 * BOUND, "the bound would not see that nothing was learned"
    assert files(trained / name) == files(trained / like)


def test_a_checkpoint_goes_on_under_another_strategy_on_two_gpus(trained: Path, tmp_path: Path, cache: Path) -> None:
    begun = {tmp_path / name: changes(goes_on) for name, goes_on in (("zero3", "zero2"), ("ddp", "zero3"))}
    for root in begun:
        cut_short(trained / root.name, root)
    train_together(begun, cache, ranks=2, kind="cuda")
    for root in begun:
        assert "resumed after step 2, 2 workers" in [record.get("text") for record in records(root)]
        assert losses(root) == pytest.approx(losses(trained / "ddp"), abs=BOUND)

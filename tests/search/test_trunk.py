"""One trial's trunk and its branches: each is the run that it stands for, and leaves no trace."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_trials import CPU, WARMUP_STEPS, base_for, separate_run, small_job
from torch import Tensor

from runner.config.job import Job
from runner.errors import Diverged, UserError
from runner.search.records import Rung
from runner.search.resident import ResidentBase
from runner.search.trunk import last_shared_step, train_until
from runner.train.step import validation_losses
from runner.train.world import World

STOP_STEPS = (5, 8, 12)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def padded(cache: Path) -> ResidentBase:
    return base_for(small_job(), cache, largest_rank=16)


@pytest.fixture(scope="module")
def exact(cache: Path) -> ResidentBase:
    return base_for(small_job(), cache, largest_rank=4)


def rungs(base: ResidentBase, job: Job, stop_steps: tuple[int, ...] = STOP_STEPS) -> list[Rung]:
    """What was measured, without how long it took and how much memory the process has."""
    trunk = base.start(job, warmup_steps=WARMUP_STEPS)
    return [replace(trunk.to_rung(step), seconds=0.0, peak_gib=0.0) for step in stop_steps]


def state(base: ResidentBase) -> list[Tensor]:
    return [tensor.clone() for tensor in base.loaded.optimizer.changing()]


@pytest.mark.parametrize(
    ("schedule", "stop_steps"), [("warmup-stable-decay", STOP_STEPS), ("cosine", (4, 6)), ("constant", (4, 6))]
)
def test_a_branch_is_the_separate_run_bit_for_bit(
    schedule: str, stop_steps: tuple[int, ...], exact: ResidentBase, cache: Path, tmp_path: Path
) -> None:
    job = small_job(train__schedule=schedule)
    trunk = exact.start(job, warmup_steps=WARMUP_STEPS)
    for step in stop_steps:
        rung = trunk.to_rung(step)
        trunk.save_adapter(tmp_path / f"branch-{step}")
        loss, adapter = separate_run(job, step, tmp_path / f"run-{step}", cache)
        assert rung.loss == loss
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            assert (tmp_path / f"branch-{step}" / name).read_bytes() == (adapter / name).read_bytes()


@pytest.mark.parametrize("kernels", ["transformers", "fused"])
def test_a_branch_of_a_padded_rank_is_the_separate_run_within_rounding(
    kernels: str, cache: Path, tmp_path: Path
) -> None:
    """The zeros add nothing, but the matrix products and the gradient's norm sum in other blocks."""
    job = small_job(train__kernels=kernels, train__learning_rate=5e-4)
    base = base_for(job, cache, largest_rank=16)
    for rung in rungs(base, job):
        loss, _ = separate_run(job, rung.stop_step, tmp_path / f"{rung.stop_step}", cache)
        assert rung.loss == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("kernels", ["auto", "fused"])
def test_the_trunk_goes_on_as_if_there_had_been_no_branch(kernels: str, cache: Path) -> None:
    job = small_job(lora__rank=3, train__kernels=kernels)
    base = base_for(job, cache, largest_rank=16)
    trunk = base.start(job, warmup_steps=WARMUP_STEPS)
    trunk.to_rung(5)
    trunk.to_rung(8)
    with_branches, after_all = trunk.to_rung(12), state(base)
    alone = base.start(job, warmup_steps=WARMUP_STEPS)
    without = alone.to_rung(12)
    assert (with_branches.loss, with_branches.question_sums) == (without.loss, without.question_sums)
    assert all(torch.equal(*pair) for pair in zip(after_all, state(base), strict=True))
    assert without.trained_tokens == 12 * 512
    assert with_branches.trained_tokens == (12 + 2 + 3) * 512  # the decays of the first two are trained besides


@pytest.mark.parametrize("kernels", ["auto", "fused"])
def test_a_trial_that_waited_while_others_trained_goes_on_bit_for_bit(kernels: str, cache: Path) -> None:
    job = small_job(lora__rank=3, train__kernels=kernels)
    base = base_for(job, cache, largest_rank=16)
    expected, end = rungs(base, job), state(base)
    trunk = base.start(job, warmup_steps=WARMUP_STEPS)
    first = trunk.to_rung(5)
    parked = trunk.park()
    rungs(base, small_job(lora__rank=16, lora__alpha=3.0, train__learning_rate=5e-2, train__kernels=kernels))
    again = base.start(job, warmup_steps=WARMUP_STEPS, parked=parked)
    found = [first, again.to_rung(8), again.to_rung(12)]
    assert [(rung.loss, rung.question_sums) for rung in found] == [(e.loss, e.question_sums) for e in expected]
    assert all(torch.equal(*pair) for pair in zip(state(base), end, strict=True))
    # the trunk of 3 steps is not trained again
    assert first.trained_tokens + found[-1].trained_tokens == expected[-1].trained_tokens
    assert parked.nbytes == sum(tensor.nbytes for tensor in base.loaded.optimizer.changing())


@pytest.mark.parametrize("kernels", ["auto", "fused"])
def test_stop_steps_that_were_passed_by_are_measured_at_the_cost_of_their_branches(kernels: str, cache: Path) -> None:
    job = small_job(lora__rank=3, train__kernels=kernels)
    base = base_for(job, cache, largest_rank=16)
    expected, end = rungs(base, job), state(base)
    trunk = base.start(job, warmup_steps=WARMUP_STEPS, passing=(5, 8))
    last = trunk.to_rung(12)
    parked = trunk.park()
    assert [point.step for point in parked.points] == [3, 5, 8]
    assert parked.nbytes == 3 * parked.tip().nbytes
    rungs(base, small_job(lora__rank=16, lora__alpha=3.0, train__learning_rate=5e-2, train__kernels=kernels))
    again = base.start(job, warmup_steps=WARMUP_STEPS, parked=parked)
    found = [again.to_rung(5), again.to_rung(8)]
    assert [rung.trained_tokens for rung in (last, *found)] == [12 * 512, 2 * 512, 5 * 512]
    assert [(rung.loss, rung.question_sums) for rung in (*found, last)] == [(e.loss, e.question_sums) for e in expected]
    again.to_rung(12)
    assert all(torch.equal(*pair) for pair in zip(state(base), end, strict=True))


def test_what_the_trunk_gives_on_its_way_is_the_run_without_a_decay_and_leaves_no_trace(
    exact: ResidentBase, cache: Path, tmp_path: Path
) -> None:
    job = small_job()
    expected, end = rungs(exact, job), state(exact)
    trunk = exact.start(job, warmup_steps=WARMUP_STEPS, stable=(5, 8))
    found = [trunk.to_rung(step) for step in STOP_STEPS]
    assert [[ending.stop_step for ending in rung.stable] for rung in found] == [[], [5], [8]]
    assert [(rung.loss, rung.question_sums, rung.trained_tokens) for rung in found] == [
        (rung.loss, rung.question_sums, rung.trained_tokens) for rung in expected
    ]
    assert all(torch.equal(*pair) for pair in zip(state(exact), end, strict=True))
    for ending in (*found[1].stable, *found[2].stable):
        loss, _ = separate_run(
            small_job(train__schedule="constant"), ending.stop_step, tmp_path / f"{ending.stop_step}", cache
        )
        assert ending.loss == loss
        tokens = exact.question_tokens
        assert math.fsum(ending.question_sums) / sum(tokens) == pytest.approx(loss, rel=1e-6)


def test_only_a_schedule_with_a_stable_phase_has_endings_in_it(exact: ResidentBase) -> None:
    for schedule, stops in (("constant", (4, 6)), ("cosine", (4, 6))):
        trunk = exact.start(small_job(train__schedule=schedule), warmup_steps=WARMUP_STEPS, stable=(4,))
        assert [trunk.to_rung(step).stable for step in stops] == [(), ()]


def test_where_there_is_no_room_for_points_the_trunk_is_trained_again(
    padded: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.search.trunk.POINTS_ROOM", padded.loaded.snapshot.nbytes)
    trunk = padded.start(small_job(), warmup_steps=WARMUP_STEPS, passing=(5, 8))
    trunk.to_rung(12)
    parked = trunk.park()
    assert [point.step for point in parked.points] == [3, 8]
    again = padded.start(small_job(), warmup_steps=WARMUP_STEPS, parked=parked)
    again.to_rung(5)
    assert again.to_rung(8).trained_tokens == (2 + 2 + 3) * 512


def test_a_trial_after_another_gives_what_it_gives_as_the_first(cache: Path, padded: ResidentBase) -> None:
    job = small_job(lora__rank=5, train__seed=3)
    other = small_job(
        lora__rank=16, lora__alpha=3.0, train__learning_rate=5e-2, train__weight_decay=0.5, train__clip=0.1
    )
    first = rungs(base_for(small_job(), cache, largest_rank=16), job)
    rungs(padded, other)
    assert rungs(padded, job) == first


def test_a_trial_that_was_broken_off_in_a_step_leaves_no_trace(
    padded: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.search.trunk.PROGRESS_S", 0.0)
    job = small_job()
    expected = rungs(padded, job)
    broken = padded.start(small_job(lora__rank=16), warmup_steps=WARMUP_STEPS)
    with pytest.raises(KeyboardInterrupt):
        broken.to_rung(5, _interrupt)
    for tensor in (*padded.loaded.optimizer.changing(), padded.loaded.optimizer.weights.gradient):
        tensor.fill_(math.nan)
    with pytest.raises(AssertionError, match="ended with an error"):
        broken.to_rung(8)
    assert rungs(padded, job) == expected
    with pytest.raises(AssertionError, match="another trial was started"):
        broken.to_rung(8)


def _interrupt(_step: int) -> None:
    raise KeyboardInterrupt


def test_a_rate_that_diverges_says_so_and_the_next_trial_is_right(padded: ResidentBase) -> None:
    job = small_job()
    expected = rungs(padded, job)
    norm = padded.loaded.model.get_base_model().get_decoder().norm.weight  # type: ignore[operator]  # transformers'
    before = norm.data.clone()
    trunk = padded.start(small_job(train__learning_rate=0.09), warmup_steps=WARMUP_STEPS)
    norm.data.fill_(math.inf)
    with pytest.raises(Diverged, match=r"3 steps in a row, the last at step 3.*now 0.09"):
        trunk.to_rung(5)
    with pytest.raises(AssertionError, match="no rung"):
        trunk.save_adapter(Path("nowhere"))
    norm.data.copy_(before)
    assert rungs(padded, job) == expected


def test_a_held_out_loss_that_is_not_finite_is_no_rung(padded: ResidentBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.search.trunk.PROGRESS_S", 0.0)
    norm = padded.loaded.model.get_base_model().get_decoder().norm.weight  # type: ignore[operator]  # transformers'
    before = norm.data.clone()

    def spoil(step: int) -> None:
        if step == 5:
            norm.data.fill_(math.inf)

    with pytest.raises(Diverged, match="the held-out loss is nan after step 5"):
        padded.start(small_job(), warmup_steps=WARMUP_STEPS).to_rung(5, spoil)
    norm.data.copy_(before)


def test_question_sums_add_up_to_the_validation_loss(padded: ResidentBase) -> None:
    (rung,) = rungs(padded, small_job(), (5,))
    assert len(rung.question_sums) == len(padded.question_tokens) == 12
    assert sum(rung.question_sums) / sum(padded.question_tokens) == pytest.approx(rung.loss, rel=1e-6)
    assert rung.loss < padded.base_loss


def test_a_question_alone_gives_its_sum(padded: ResidentBase) -> None:
    held_out, model = padded.loaded.held_out, padded.loaded.model
    padded.start(small_job(), warmup_steps=WARMUP_STEPS)
    found = held_out.measure(model)
    assert found.losses.loss == padded.base_loss
    split = padded.data.validation
    assert len(split) > 1
    for number in range(split.documents):
        document = split.document(number)
        ids = torch.from_numpy(document.ids)[None]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        losses = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        learned = losses[document.prompt_length - 1 :]
        assert padded.question_tokens[number] == len(learned)
        assert found.question_sums[number] == pytest.approx(float(learned.sum()), rel=1e-5)


def test_the_total_is_that_of_a_runs_validation(padded: ResidentBase) -> None:
    padded.start(small_job(), warmup_steps=WARMUP_STEPS)
    loaded = padded.loaded
    expected = validation_losses(loaded.model, padded.data.validation, World(device=CPU), rows=2)
    assert loaded.held_out.measure(loaded.model).losses == expected


def test_warm_up_and_decay_that_do_not_fit_into_a_stop_step_are_refused(padded: ResidentBase) -> None:
    with pytest.raises(UserError, match="a warm-up of 4 steps and a decay of 34% do not fit into 5 steps"):
        padded.start(small_job(), warmup_steps=4).to_rung(5)


@pytest.mark.parametrize("warmup_steps", [0, 1, 7, 65])
def test_the_warm_up_has_as_many_steps_whatever_the_stop_step(warmup_steps: int) -> None:
    from runner.train.schedule import warmup_steps as steps_of

    train = small_job().train
    for stop_step in range(200, 2200, 7):
        until = train_until(train, stop_step, warmup_steps=warmup_steps)
        assert steps_of(until) == warmup_steps
        assert warmup_steps <= last_shared_step(until) < until.steps == stop_step


def test_progress_is_told_as_steps_are_done(padded: ResidentBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.search.trunk.PROGRESS_S", 0.0)
    seen: list[int] = []
    trunk = padded.start(small_job(), warmup_steps=WARMUP_STEPS)
    trunk.to_rung(5, seen.append)
    trunk.to_rung(8, seen.append)
    assert seen == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8]

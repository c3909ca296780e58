"""The step on a GPU: against plain PEFT and bitsandbytes, and stopped and resumed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import Recorder, small_job
from torch import Tensor, nn

from conftest import pack_of, tiny_starcoder2
from runner.config.job import Job
from runner.data.shards import Pack
from runner.plan.settings import Settings
from runner.runs import RunFolder
from runner.train.batches import StepBatch, learned_tokens, micro_batch
from runner.train.loop import train
from runner.train.optimizer import FlatAdamW
from runner.train.setup import build_model
from runner.train.step import losses_of, train_step
from runner.train.weights import FlatWeights
from runner.train.world import World

LENGTHS = (40, 17, 71)
CAPACITY = 128
FORMS = [
    Settings("dequantized", 1, "none", compiled=True, activation_budget=0.5),
    Settings("dequantized", 1, "none", compiled=False, activation_budget=1.0, fused=("all",) * 3),
    Settings("dequantized", 1, "none", compiled=False, activation_budget=1.0, fused=("all", "attention", "input")),
    Settings("nf4", 1, "none", compiled=False, activation_budget=1.0, fused=("input",) * 3),
    Settings("dequantized", 1, "layers", compiled=False, activation_budget=1.0),
    Settings("nf4", 1, "layers", compiled=False, activation_budget=1.0),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    model: Any = tiny_starcoder2(hidden_size=256, intermediate_size=1024, num_hidden_layers=3)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def job_on(folder: Path) -> Job:
    return Job.model_validate(
        {
            "model": {"id": str(folder), "quantization": "nf4"},
            "data": {"max_length": CAPACITY},
            "lora": {"rank": 8},
            "train": {"tokens_per_step": CAPACITY, "clip": None},
        }
    )


def randomized(model: nn.Module) -> nn.Module:
    """Adapter B starts at zero, where A has no gradient: give it values."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def reference(folder: Path, model: nn.Module, ids: list[Tensor], learned: list[Tensor]) -> dict[str, Tensor]:
    """Loss and adapter gradients of transformers + PEFT + bitsandbytes, each document alone, full logits."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    plain = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=nf4, device_map={"": 0}, attn_implementation="eager"
    )
    peft: Any = get_peft_model(plain, LoraConfig(r=8, lora_alpha=32, target_modules="all-linear"))
    values = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, parameter in peft.named_parameters():
        if parameter.requires_grad:
            parameter.data.copy_(values[name].data)
    count = sum(int(mask.sum()) for mask in learned)
    total = torch.zeros((), device="cuda")
    for document, mask in zip(ids, learned, strict=True):
        logits = peft(input_ids=document[None].cuda()).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, document[1:].cuda(), reduction="none")
        total = total + losses[mask[1:].cuda()].sum() / count
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    gradients = {name: p.grad.float() for name, p in peft.named_parameters() if p.grad is not None}
    return {"loss": total.detach(), **gradients}


@pytest.mark.gpu
@pytest.mark.parametrize(
    "form", FORMS, ids=["compiled", "fused", "fused-keeping-less", "fused-nf4", "recomputed", "nf4"]
)
def test_loss_and_every_adapter_gradient_equal_plain_peft(base: Path, form: Settings) -> None:
    job, world, pack = job_on(base), World(), pack_of(LENGTHS, capacity=CAPACITY)
    model = randomized(build_model(job, form, world.device))
    optimizer = FlatAdamW(FlatWeights(model), job.train)
    batch = StepBatch(1, iter([micro_batch([pack], 0, world.device)]), learned_tokens(pack), (0,))
    record = train_step(model, optimizer, batch, world, rate=0.0, seed=1, stop=False)
    pieces = [torch.from_numpy(part) for part in (pack.ids.astype("int64"), pack.parts)]
    documents = list(torch.split(pieces[0], list(pack.lengths)))[: len(LENGTHS)]
    learned = [mask != 0 for mask in torch.split(pieces[1], list(pack.lengths))][: len(LENGTHS)]
    expected = reference(base, model, documents, learned)
    assert losses_of(record.tolist()).loss == pytest.approx(float(expected["loss"]), rel=5e-3)
    worst = 0.0
    for name, gradient in optimizer.weights.named(optimizer.weights.gradient):
        error = float((gradient - expected[name]).norm() / expected[name].norm())
        worst = max(worst, error)
    print(f"largest relative error of {len(optimizer.weights.slots)} gradients: {worst:.1e}")
    assert worst < 5e-2


@pytest.mark.gpu
@pytest.mark.parametrize(("deterministic", "bound"), [(True, 0.0), (False, 1e-3)])
@pytest.mark.parametrize("dropout", [0.1, 0.0], ids=["compiled", "fused"])  # written-out layers have no dropout
def test_a_stopped_run_goes_on_with_the_same_losses_on_a_gpu(
    tmp_path: Path, dropout: float, deterministic: bool, bound: float
) -> None:
    job = small_job(train__micro_batch="auto", train__deterministic=deterministic, lora__dropout=dropout)
    runs: dict[str, dict[int, Any]] = {}
    for name, stops in (("whole", [None]), ("stopped", [5, None])):
        (tmp_path / name).mkdir()
        losses: dict[int, Any] = {}
        for stop in stops:
            recorder = Recorder(stop)
            train(job, RunFolder(tmp_path / name), World(), recorder, cache=tmp_path / "cache")
            losses |= recorder.losses()
        runs[name] = losses
    worst = max(abs(runs["whole"][step] - runs["stopped"][step]) for step in runs["whole"])
    print(f"largest difference of a loss after a resume on a GPU: {worst:.1e}")
    assert worst <= bound


STEPS = 50
RATE = 1e-4
REAL_SHAPES: dict[str, dict[str, object]] = {  # of one layer: StarCoder2-3B's, and a Llama of a billion parameters
    "starcoder2": {
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
    },
    "llama": {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8},
}


def real_shapes(kind: str, folder: Path) -> Path:
    """A checkpoint of two layers of real shapes with random weights."""
    from transformers import AutoModelForCausalLM, LlamaConfig, Starcoder2Config

    torch.manual_seed(0)
    configuration: Any = {"starcoder2": Starcoder2Config, "llama": LlamaConfig}[kind]
    config = configuration(
        vocab_size=1024,
        num_hidden_layers=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
        **REAL_SHAPES[kind],
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def packs_of_fifty_steps() -> list[Pack]:
    lengths = (700, 200, 124)
    return [pack_of(lengths, capacity=1024, seed=seed) for seed in range(4)] * (STEPS // 4 + 1)


def our_losses(job: Job, form: Settings) -> list[float]:
    world = World()
    model = build_model(job, form, world.device)
    optimizer = FlatAdamW(FlatWeights(model), job.train)
    records = []
    for step, pack in enumerate(packs_of_fifty_steps()[:STEPS], start=1):
        batch = StepBatch(step, iter([micro_batch([pack], 0, world.device)]), learned_tokens(pack), (0,))
        records.append(train_step(model, optimizer, batch, world, rate=RATE, seed=1, stop=False))
    return [losses_of(record.tolist()).loss for record in records]


def plain_losses(folder: Path, job: Job, *, exact: bool) -> list[float]:
    """The same steps with transformers, PEFT and torch's AdamW: bitsandbytes in bf16, or the same base in float32."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    start = build_model(job, FORMS[4], torch.device("cuda"))  # rounded as ours, and with our adapter
    values = {name: parameter.detach().clone() for name, parameter in start.named_parameters()}
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    options: dict[str, Any] = (
        {"dtype": torch.float32} if exact else {"dtype": torch.bfloat16, "quantization_config": nf4}
    )
    base = AutoModelForCausalLM.from_pretrained(folder, device_map={"": 0}, attn_implementation="eager", **options)
    assert job.lora is not None
    lora = LoraConfig(r=job.lora.rank, lora_alpha=job.lora.alpha, target_modules="all-linear")
    model: Any = get_peft_model(base, lora)
    for name, parameter in model.named_parameters():
        if exact or parameter.requires_grad:
            parameter.data.copy_(values[name])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adamw = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    losses = []
    for pack in packs_of_fifty_steps()[:STEPS]:
        total = torch.zeros((), device="cuda")
        for part in torch.split(torch.arange(1024), list(pack.lengths)):
            ids = torch.from_numpy(pack.ids[part.numpy()].astype("int64")).cuda()
            learned = torch.from_numpy(pack.parts[part.numpy()]).cuda()[1:] != 0
            logits = model(input_ids=ids[None]).logits[0, :-1].float()
            each = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
            total = total + each[learned].sum() / learned_tokens(pack)
        adamw.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        adamw.step()
        losses.append(float(total.detach()))
    return losses


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["starcoder2", "llama"])
def test_fifty_losses_are_as_near_to_float32_as_those_of_peft_and_bitsandbytes(kind: str, tmp_path: Path) -> None:
    folder = real_shapes(kind, tmp_path)
    job = Job.model_validate(
        {
            "model": {"id": str(folder), "quantization": "nf4"},
            "data": {"max_length": 1024},
            "lora": {"rank": 16},
            "train": {"tokens_per_step": 1024, "clip": None},
        }
    )
    exact, plain = plain_losses(folder, job, exact=True), plain_losses(folder, job, exact=False)
    noise = max(abs(a - b) for a, b in zip(plain, exact, strict=True))
    whole = replace(FORMS[1], fused=("all", "all"))
    for form in (FORMS[0], whole, replace(whole, replayed=True)):
        ours = our_losses(job, form)
        error = max(abs(a - b) for a, b in zip(ours, exact, strict=True))
        kernels = "compiled" if form.compiled else "replayed" if form.replayed else "fused"
        print(f"{kind}: {exact[0]:.3f} -> {exact[-1]:.3f}; from float32 {kernels} {error:.1e}, PEFT {noise:.1e}")
        assert error < 2 * noise + 1e-3

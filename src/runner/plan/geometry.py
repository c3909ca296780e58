"""The sizes of a model that memory and time follow from, read off its skeleton without its weights.

Nothing is allocated: the model is built on torch's ``meta`` device.
"""

from dataclasses import dataclass
from typing import Any

import torch

from runner.config.job import Job, Model
from runner.model.adapter import resolve_targets
from runner.model.base import load_config, load_skeleton
from runner.model.fused import why_not_written_for
from runner.model.kinds import check_kind
from runner.model.nf4 import frozen_linears

SHARED_INPUT = ({"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"})  # layers that read one and the same tensor


@dataclass(frozen=True)
class Geometry:
    """Counts of one model under one job; bytes follow from the form the weights are kept in."""

    layers: int
    hidden: int
    heads_width: int  # query heads x head width
    vocabulary: int
    linear: int  # weights of all frozen linear layers, the head not counted
    other: int  # every other parameter: embedding, head, norms, biases
    trainable: int
    layer_linear: int  # linear weights of one layer
    saved: int  # elements a token leaves in one layer for the backward pass when all are kept
    positions: int  # the most tokens that a document may have; 0: the configuration names no limit
    key_width: int  # key heads x head width
    rise: int  # outputs of the layers that lead into the MLP: its width, twice where there is a gate
    fall: int  # inputs of the layer that leads out of it
    why_not_fused: str | None  # why the layers stay transformers' own; None when they can be written out


def read_geometry(job: Job) -> Geometry:
    """The sizes of the model of ``job`` with its adapter.

    Raises ``UserError`` for a target that matches no linear layer, and for a kind of model that is not trained.
    """
    config: Any = load_config(job.model)
    skeleton = load_skeleton(config, job.model.id)
    check_kind(skeleton, job.model.id)
    linears = list(frozen_linears(skeleton))
    linear = sum(module.weight.numel() for _, module in linears)
    total = sum(parameter.numel() for parameter in skeleton.parameters())
    layers = int(config.num_hidden_layers)
    if job.lora is None:
        trainable = total
    else:
        targets = resolve_targets(skeleton, job.lora)
        chosen = [module for name, module in linears if name.rsplit(".", 1)[-1] in targets]
        trainable = sum(job.lora.rank * (module.in_features + module.out_features) for module in chosen)
    return Geometry(
        layers=layers,
        hidden=int(config.hidden_size),
        heads_width=int(config.num_attention_heads) * _head_width(config),
        vocabulary=int(config.vocab_size),
        linear=linear,
        other=total - linear,
        trainable=trainable,
        layer_linear=linear // layers,
        saved=_saved_per_token(linears) // layers,
        positions=_positions(config),
        key_width=_first_layer(linears, "out_features", {"k_proj"}),
        rise=_first_layer(linears, "out_features", {"c_fc", "gate_proj", "up_proj"}),
        fall=_first_layer(linears, "in_features", {"c_proj", "down_proj"}),
        why_not_fused=_why_not_fused(job, config),
    )


def read_positions(model: Model) -> int:
    """``Geometry.positions`` of ``model``, from its configuration alone."""
    return _positions(load_config(model))


def _positions(config: Any) -> int:
    """The positions of the configuration, times the factor of scaled rotary positions that it counts without it."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    unscaled = rope.get("original_max_position_embeddings") == positions
    return int(positions * float(rope.get("factor", 1.0))) if unscaled else positions


def _why_not_fused(job: Job, config: Any) -> str | None:
    if job.lora is None:
        return "every parameter is trained"
    if job.lora.dropout:
        return "lora.dropout is not 0"
    return why_not_written_for(config)


def _first_layer(linears: list[tuple[str, torch.nn.Linear]], sizes: str, names: set[str]) -> int:
    """The sum of ``sizes`` over the linear layers of the first decoder layer that are called one of ``names``."""
    sums: dict[str, int] = {}
    for name, module in linears:
        parent, leaf = name.rsplit(".", 1)
        if leaf in names:
            sums[parent] = sums.get(parent, 0) + int(getattr(module, sizes))
    return next(iter(sums.values()), 0)


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _saved_per_token(linears: list[tuple[str, torch.nn.Linear]]) -> int:
    """Outputs of every linear layer, and every distinct input, in elements a token over all layers.

    2 M + 6 H + 2 K a layer of StarCoder2 (H hidden, M MLP and K key width), 3 M + 6 H + 2 K of Llama.
    """
    elements, seen = 0, set[tuple[str, int]]()
    for name, module in linears:
        elements += module.out_features
        parent, leaf = name.rsplit(".", 1)
        group = next((index for index, names in enumerate(SHARED_INPUT) if leaf in names), None)
        if group is None or (parent, group) not in seen:
            elements += module.in_features
        if group is not None:
            seen.add((parent, group))
    return elements

"""Putting the written-out layer in the place of transformers' own, where it computes the same.

Which models those are is a list and not a guess: what a layer computes cannot be read off its parts' names.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from runner.model.adapter import causal_lm
from runner.model.fused.borders import Documents
from runner.model.fused.elementwise import Activation, HeadNorms, Norm
from runner.model.fused.layer import FusedLayer, Kept, LayerParts, Rotation
from runner.model.fused.linear import JoinedLinear, Member
from runner.model.fused.replay import Replays, layer_states
from runner.model.kinds import decoder_layers
from runner.model.nf4 import is_packed

MODEL_TYPES = ("starcoder2", "llama", "mistral", "qwen2", "qwen3")
ACTIVATIONS: dict[str, Activation] = {"gelu_pytorch_tanh": "gelu", "silu": "swiglu"}


def why_not_fused(model: nn.Module) -> str | None:
    """Why the layers of ``model`` (base and adapter) stay transformers' own, in words; None when they need not."""
    lm: Any = causal_lm(model)
    return why_not_written_for(lm.config) or _why_not_adapters(lm)


def why_not_written_for(config: Any) -> str | None:
    """The same from the configuration alone: what a plan can know."""
    if config.model_type not in MODEL_TYPES:
        return f"{config.model_type} is none of {', '.join(MODEL_TYPES)}"
    if config.hidden_act not in ACTIVATIONS:
        return f"its activation is {config.hidden_act}"
    dropouts = [key for key in vars(config) if key.endswith(("dropout", "pdrop")) and getattr(config, key)]
    return f"{dropouts[0]} is not 0" if dropouts else None


def _why_not_adapters(lm: Any) -> str | None:
    for layer in decoder_layers(lm):
        for name, module in layer.named_modules():
            if hasattr(module, "lora_dropout") and any(isinstance(m, nn.Dropout) for m in module.lora_dropout.values()):
                return "lora.dropout is not 0"
            if isinstance(module, nn.Linear) and type(module) is not nn.Linear and not is_packed(module):
                return f"{name} is a {type(module).__name__}"
    return None


REPLAYS = "replays"  # attribute of a model whose passes are replayed


def fuse_layers(model: nn.Module, *, kept: Sequence[Kept], replayed: bool = False) -> None:
    """Let every decoder layer of ``model`` run written out; ``kept`` says what each keeps for its backward pass.

    With ``replayed``, for CUDA only, ``fused_states`` records the pass over them and replays it.

    The frozen weights move into joined matrices, of which the modules' own weights become views: the model still
    saves, and within ``transformers_layers`` generates, as transformers' own.
    """
    lm: Any = causal_lm(model)
    anchor = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    for layer, keeps in zip(decoder_layers(lm), kept, strict=True):
        layer.forward = _Forward(_parts_of(layer, lm.config, keeps), anchor)
    if replayed:
        setattr(lm, REPLAYS, Replays(lm))


def fused_states(model: nn.Module, ids: Tensor, positions: Tensor, documents: Documents) -> Tensor | None:
    """The last hidden states ``(batch, length, hidden)`` by written-out layers; None where they are transformers'."""
    lm: Any = causal_lm(model)
    first = vars(decoder_layers(lm)[0]).get("forward")
    if not isinstance(first, _Forward):
        return None
    replays: Replays | None = getattr(lm, REPLAYS, None)
    if replays is None:
        return layer_states(lm, ids, positions, documents)
    return replays.states(ids, positions, documents, scale=first.parts.scale)


def fused_layers(model: nn.Module) -> list[LayerParts]:
    """The written-out layers of ``model``; none when its layers are transformers' own."""
    return [forward.parts for _, forward in _written_out(model)]


def _written_out(model: nn.Module) -> list[tuple[nn.Module, "_Forward"]]:
    found = ((module, vars(module).get("forward")) for module in model.modules())
    return [(module, forward) for module, forward in found if isinstance(forward, _Forward)]


@contextmanager
def transformers_layers(model: nn.Module) -> Iterator[None]:
    """Within the block the layers of ``model`` are transformers' own, which know caches and padding."""
    fused = _written_out(model)
    try:
        for layer, _ in fused:
            del layer.forward
        yield
    finally:
        for layer, forward in fused:
            layer.forward = forward


class _Forward:
    """What stands in for a decoder layer's ``forward``."""

    def __init__(self, parts: LayerParts, anchor: nn.Parameter) -> None:
        self.parts = parts
        self.anchor = anchor

    def __call__(self, hidden_states: Tensor, *_: Any, position_embeddings: Any, documents: Any, **__: Any) -> Tensor:
        """The residual stream ``(batch, length, hidden)`` after the layer."""
        shape = hidden_states.shape
        cosine, sine = (table.reshape(-1, table.shape[-1])[:, : table.shape[-1] // 2] for table in position_embeddings)
        rows = hidden_states.reshape(-1, shape[-1])
        apply: Any = FusedLayer.apply
        out = apply(rows, self.anchor, self.parts, Rotation(cosine, sine), documents)
        result: Tensor = out.view(shape)
        return result


def _parts_of(layer: Any, config: Any, kept: Kept) -> LayerParts:
    attention, mlp = layer.self_attn, layer.mlp
    plain = hasattr(mlp, "c_fc")
    window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    if config.model_type in ("qwen2", "qwen3") and not getattr(attention, "sliding_window", None):
        window = None
    return LayerParts(
        attention_norm=_norm(layer.input_layernorm),
        qkv=_joined(attention.q_proj, attention.k_proj, attention.v_proj),
        output=_joined(attention.o_proj),
        mlp_norm=_norm(layer.post_attention_layernorm),
        rise=_joined(mlp.c_fc) if plain else _joined(mlp.gate_proj, mlp.up_proj),
        activation=ACTIVATIONS[config.hidden_act],
        fall=_joined(mlp.c_proj if plain else mlp.down_proj),
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        scaling=attention.scaling,
        window=window,
        head_norms=_head_norms(attention),
        kept=kept,
    )


def _head_norms(attention: Any) -> HeadNorms | None:
    if not hasattr(attention, "q_norm"):
        return None
    query, key = attention.q_norm, attention.k_norm
    return HeadNorms(query.weight.data, key.weight.data, query.variance_epsilon)


def _norm(module: Any) -> Norm:
    if isinstance(module, nn.LayerNorm):
        return Norm("layer", module.weight.data, module.bias.data, module.eps)
    return Norm("rms", module.weight.data, None, module.variance_epsilon)


def _joined(*modules: Any) -> JoinedLinear:
    with torch.no_grad():
        return JoinedLinear([_member(module) for module in modules])


def _member(module: Any) -> Member:
    if isinstance(module, nn.Linear):
        return Member(module, None, None, 0.0)
    return Member(
        module.base_layer,
        module.lora_A["default"].weight,
        module.lora_B["default"].weight,
        float(module.scaling["default"]),
    )

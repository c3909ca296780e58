"""Which kinds of causal language models are computed here as transformers computes them, told without weights.

What nothing tells beforehand is found with the weights: ``runner.train.agreement``.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from runner.errors import UserError

KNOWN_LAYERS = ("full_attention", "sliding_attention")
CAPS = ("attn_logit_softcapping", "final_logit_softcapping")  # keys of configurations
TERMS = {"softcap": "a cap on its scores", "s_aux": "attention sinks"}  # of attention, by transformers' argument
LAYER_LISTS = ("layers", "h", "blocks")  # attributes of decoders
REMEDY = "take a model of another kind: this one would be trained wrong"


def check_kind(lm: Any, model_id: str) -> None:
    """Raise ``UserError`` when documents in one buffer would see each other in ``lm``, or its logits be others.

    ``lm`` may be a skeleton.
    """
    reason = _why_not(lm)
    if reason is not None:
        raise UserError(f"{lm.config.model_type} models are not trained: {reason}", f"model.id {model_id}", REMEDY)


def unknown_layers(config: Any) -> str:
    """The kinds of layers in ``config`` that are not attention over documents, in words; empty when all are."""
    return ", ".join(sorted(set(getattr(config, "layer_types", None) or ()) - set(KNOWN_LAYERS)))


def decoder_layers(lm: Any) -> nn.ModuleList:
    """The layers of the decoder of ``lm``, by whichever name they have; ``UserError`` where they have none known."""
    layers = _layers_of(lm)
    if layers is None:
        raise UserError(f"the decoder of {lm.config.model_type} has no list of layers", "model.id", REMEDY)
    return layers


def refuse_terms(options: Mapping[str, Any]) -> None:
    """Raise ``UserError`` when ``options``, what a model hands to its attention, has a term that is not computed."""
    for key, words in TERMS.items():
        if options.get(key) is not None:
            raise UserError(f"the model's attention has {words} ({key}), which is not computed", "model.id", REMEDY)


def logit_scale(config: Any) -> float:
    """What logits are multiplied with: ``logit_scale`` (Cohere), one over ``logits_scaling`` (Granite), else 1."""
    factor, divisor = (getattr(config, key, None) or 1.0 for key in ("logit_scale", "logits_scaling"))
    return float(factor) / float(divisor)


def _why_not(lm: Any) -> str | None:
    config = lm.config
    if not hasattr(config, "num_hidden_layers"):
        return "they are more than a language model"
    caps = [f"{key} {getattr(config, key)}" for key in CAPS if getattr(config, key, None) is not None]
    if caps:
        return f"{' and '.join(caps)} of the configuration would be left out"
    if unknown := unknown_layers(config):
        return f"in layers of {unknown} documents in one buffer would see each other"
    if lm._is_stateful:
        return "its layers carry a state from token to token, over the ends of documents"
    if not (lm._supports_sdpa and lm._supports_attention_backend):
        return "transformers does not let another attention take the place of its own"
    return "its decoder has no list of layers" if _layers_of(lm) is None else None


def _layers_of(lm: Any) -> nn.ModuleList | None:
    decoder = lm.get_decoder()
    found = (getattr(decoder, name, None) for name in LAYER_LISTS)
    return next((layers for layers in found if isinstance(layers, nn.ModuleList)), None)

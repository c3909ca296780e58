"""The keys that a configuration type knows: their ranges in words, and the nearest to a wrong one.

Derived from the type's JSON Schema alone, so that a range is stated once, at its field.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from pydantic import BaseModel

Node: TypeAlias = Mapping[str, Any]  # a JSON Schema node

# What other trainers call a key.  Only names that mean exactly one of ours, some of them only in their section.
FOREIGN_NAMES = {
    "alpha": "lora.alpha",
    "base_model": "model.id",
    "checkpoint.steps": "checkpoint.every",
    "clip_grad": "train.clip",
    "data.name": "data.id",
    "data.train_split": "data.split",
    "dataset": "data.id",
    "epochs": "train.steps",
    "eval_steps": "validation.every",
    "grad_clip": "train.clip",
    "gradient_clipping": "train.clip",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "lora_r": "lora.rank",
    "lr": "train.learning_rate",
    "lr_scheduler": "train.schedule",
    "lr_scheduler_type": "train.schedule",
    "lrate": "train.learning_rate",
    "max_grad_norm": "train.clip",
    "max_seq_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "max_steps": "train.steps",
    "model.name": "model.id",
    "model_name": "model.id",
    "model_name_or_path": "model.id",
    "num_epochs": "train.steps",
    "num_train_epochs": "train.steps",
    "optim": "train.optimizer",
    "per_device_train_batch_size": "train.micro_batch",
    "r": "lora.rank",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "seq_len": "data.max_length",
    "sequence_length": "data.max_length",
    "step": "train.steps",
    "target_modules": "lora.targets",
    "validation.steps": "validation.every",
    "warmup_ratio": "train.warmup",
    "warmup_steps": "train.warmup",
}


@cache
def known_keys(model: type[BaseModel]) -> dict[str, Node]:
    """Every key of ``model`` by its dotted path, sections included, with its schema node."""
    schema = model.model_json_schema()
    return dict(_walk(schema, schema.get("$defs", {}), ""))


def _walk(node: Node, definitions: Mapping[str, Node], prefix: str) -> list[tuple[str, Node]]:
    found: list[tuple[str, Node]] = []
    for name, child in node.get("properties", {}).items():
        found.append((prefix + name, child))
        for option in child.get("anyOf", [child]):
            if "$ref" in option:
                section = definitions[option["$ref"].rpartition("/")[2]]
                found += _walk(section, definitions, f"{prefix}{name}.")
    return found


def keys_of_section(model: type[BaseModel], section: str) -> tuple[str, ...]:
    """The names directly inside ``section``; the top level is the empty string."""
    prefix = f"{section}." if section else ""
    inside = (key[len(prefix) :] for key in known_keys(model) if key.startswith(prefix))
    return tuple(name for name in inside if "." not in name)


def nearest_key(model: type[BaseModel], key: str) -> str | None:
    """The known key most likely meant by the unknown ``key``; None when none is near.

    What other trainers call a key comes first, then the names in the section that is written, then other sections.
    Names are compared without their section where it is a known one: what two paths share says nothing of the name.
    """
    known = known_keys(model)
    key = key.lower().replace("-", "_")
    section, _, name = key.rpartition(".")
    foreign = FOREIGN_NAMES.get(key, FOREIGN_NAMES.get(name))
    if foreign in known:
        return foreign
    if close := difflib.get_close_matches(name, keys_of_section(model, section), n=1, cutoff=0.7):
        return f"{section}.{close[0]}" if section else close[0]
    if section not in known and (close := difflib.get_close_matches(key, list(known), n=1, cutoff=0.8)):
        return close[0]
    names = {other: other.rpartition(".")[2] for other in known}
    if close := difflib.get_close_matches(name, list(names.values()), n=1, cutoff=0.85):
        alike = [other for other in known if names[other] == close[0]]
        return max(alike, key=lambda other: difflib.SequenceMatcher(None, key, other).ratio())
    return None


def allowed(model: type[BaseModel], key: str) -> str:
    """The range of ``key`` in words: ``a number above 0 and below 0.1``."""
    node = known_keys(model)[key]
    if "pattern" in str(node):
        return f"text such as my-run-1 ({node.get('description', '').rstrip('.')})"
    return _words(node, keys_of_section(model, key))


def _words(node: Node, section_keys: Sequence[str]) -> str:
    if "anyOf" in node:
        return " or ".join(_words(option, section_keys) for option in node["anyOf"])
    if "$ref" in node or "properties" in node:
        return f"a section with keys ({', '.join(section_keys)})"
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(str(option) for option in node["enum"])
    kind = node.get("type")
    if kind == "array":
        items = _words(node.get("items", {}), section_keys)
        least = "at least one " if node.get("minItems") else ""
        return f"a list of {least}{items}"
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(node)
    names = {"string": "text", "boolean": "true or false", "null": "null"}
    return names.get(str(kind), "another value") + (" that is not empty" if node.get("minLength") else "")


def _range(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    bounds = []
    for name, word in (("minimum", "at least"), ("exclusiveMinimum", "above"), ("exclusiveMaximum", "below")):
        if name in node:
            bounds.append(f"{word} {_plain(node[name])}")
    if high is not None:
        bounds.append(f"at most {_plain(high)}")
    text = " and ".join(bounds)
    return f" of {text}" if text.startswith(("at least", "at most")) else f" {text}" if text else ""


def _plain(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def near_values(node: Node, value: object) -> tuple[object, ...]:
    """Values that may have been meant by ``value``, the likeliest first; they are not yet checked."""
    if isinstance(value, str):
        choices = [option for option in _choices(node) if isinstance(option, str)]
        close = difflib.get_close_matches(value.lower().replace("_", "-"), choices, n=1, cutoff=0.5)
        items = [*_choices(node.get("items", {})), value]
        listed = difflib.get_close_matches(value.lower(), [item for item in items if isinstance(item, str)], n=2)
        return (*close, *_numbers_in(value), *((item,) for item in reversed(listed)))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value == 0:
        return ()
    number = abs(value)
    whole = (int(number),) if float(number).is_integer() else ()
    digits, _, _ = f"{number:e}".partition("e")
    default = node.get("default")
    scale = f"{default:e}".rpartition("e")[2] if isinstance(default, float) and default else "-2"
    return (*whole, number, float(f"{digits}e{scale}"), number / 100) if value > 0 else (*whole, number)


def _choices(node: Node) -> list[object]:
    options = [node, *node.get("anyOf", [])]
    return [choice for option in options for choice in [*option.get("enum", []), option.get("const")]]


def _numbers_in(text: str) -> tuple[object, ...]:
    cleaned = text.strip().replace("_", "").replace(",", "").rstrip("kKxX%")
    try:
        number = float(cleaned)
    except ValueError:
        return ()
    if not math.isfinite(number):
        return ()
    number *= 1000 if text.strip()[-1:] in "kK" else 1
    return (int(number), number) if number.is_integer() and abs(number) < 1e15 else (number,)

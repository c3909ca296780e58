"""A job's model and data, at hand before anything slow starts: brought, found in the cache, or refused in a minute.

Bringing them is ``download``'s, tokenising and packing ``runner.data``'s; both are shown here as they go.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.options import CACHE
from runner.cli.ticker import Ticker
from runner.errors import UserError

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.config.job import Job, Model
    from runner.data import PreparedData
    from runner.model.tokenizer import Encoder


def make_ready(job: "Job", profile: "Cluster") -> None:
    """Return when ``job`` can be trained as ``profile`` says, its data at hand if its workers are here.

    Raises ``UserError`` for storage, a model or data that will not do.
    """
    from runner.config.storage import is_url

    if is_url(profile.storage):
        from runner.runs.remote.opening import check_storage

        check_storage(profile.storage)
    if profile.address is None:
        data_to_train_on(job)
    else:
        check_for_elsewhere(job)


def prepared_data(job: "Job") -> "tuple[Encoder, PreparedData]":
    """The tokenizer and the packed data of ``job``, kept in the cache, where workers of this machine find them."""
    from runner.model.tokenizer import load_encoder

    reach_model(job.model)
    return _prepared(job, load_encoder(job.model))


def data_to_train_on(job: "Job") -> "tuple[Encoder, PreparedData]":
    """``prepared_data``; but ``UserError``, before anything is tokenised, for what the model does not go with."""
    from runner.model.tokenizer import load_encoder

    reach_model(job.model)
    return _prepared(job, _check_model(job) or load_encoder(job.model))


def check_for_elsewhere(job: "Job") -> None:
    """What can be told here of a job whose workers have caches of their own: nothing of a model that is on the hub."""
    from runner.model.source import EMBEDDED

    if job.model.id in EMBEDDED or Path(job.model.id).expanduser().is_dir():
        _check_model(job)


def _check_model(job: "Job") -> "Encoder | None":
    """The tokenizer, if it was looked at, where the model takes it.

    ``UserError`` for weights that are not read, targets, lengths and a tokenizer that the model does not take.
    The embedded model with the targets that every model has needs none of it but the length; the import of its code
    takes a second.
    """
    from runner.model.source import EMBEDDED
    from runner.plan import check_positions, read_positions

    check_positions(job, read_positions(job.model))
    if job.model.id in EMBEDDED and (job.lora is None or job.lora.targets == "all-linear"):
        return None
    from runner.model.base import check_vocabulary, check_weights, load_config
    from runner.model.tokenizer import load_encoder
    from runner.plan import read_geometry

    check_weights(job.model)
    read_geometry(job)  # which looks for the targets
    encoder = load_encoder(job.model)
    check_vocabulary(load_config(job.model), encoder.vocabulary, job.model.id)
    return encoder


def _prepared(job: "Job", encoder: "Encoder") -> "tuple[Encoder, PreparedData]":
    from runner.data import prepare

    return encoder, prepare(job.data, encoder, cache=CACHE.expanduser(), progress=Ticker(sys.stderr))


def reach_model(model: "Model") -> None:
    """Return once the hub answers for ``model``, or all of it lies in the cache; else ``UserError``.

    In the second case this process and those that it starts ask the hub no more: each file would be asked for six
    times, 23 s in all, before the cache is used.
    """
    from runner.cli.download import ask_for_model, is_cached, is_on_hub

    if not is_on_hub(model):
        return
    try:
        ask_for_model(model)
    except UserError:
        if not is_cached(model):
            raise
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True
        os.environ["HF_HUB_OFFLINE"] = "1"
        Ticker(sys.stderr).say(f"{constants.ENDPOINT} does not answer; {model.id} is taken from the cache")

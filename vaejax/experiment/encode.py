"""The latents of every example of a split, with the terms of its ELBO, as arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.files import replacing
from vaejax.core.game import Batch, Latent, Params, losses_and_trace
from vaejax.core.rng import Stream
from vaejax.data import Source
from vaejax.data.map_split import in_stored_order
from vaejax.distributions import is_discrete
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import latent_shapes
from vaejax.experiment.build import load_split
from vaejax.experiment.prepare import Experiment
from vaejax.losses.metrics import trace_metrics
from vaejax.training.train_step import TrainState

__all__ = ["encode_source", "encode_splits", "write_latents"]

SPLITS = ("train", "eval", "all")


def _arrays_of(node: Latent, suffix: str, n: int) -> dict[str, jax.Array]:
    q = node.posterior
    if is_discrete(q):
        return {f"indices{suffix}": q.indices}
    result = {f"mean{suffix}": q.mean}
    if hasattr(q, "variance"):
        result[f"scale{suffix}"] = jnp.sqrt(q.variance)
    return {k: v[:: len(v) // n] for k, v in result.items()}  # of several samples, the first


def encode_source(context: EvaluationContext) -> dict[str, np.ndarray]:
    """Latents and scores of all examples of a split, in the order in which it is stored.

    Returns:
      `mean` and `scale` (the standard deviation) `[N, D]` of the posteriors, or `indices` of the
      codes `[N, ...]`; with a number appended if the model has several nodes, as `mean_0`. `nll`,
      `kl` and `elbo` `[N]`, nats, from the samples of z of an evaluation; and `label` `[N]` and
      `factors` `[N, K]` where the data have them.

    Raises:
      ValueError: the model has no latents.
    """
    if not (nodes := latent_shapes(context.family, context.source)):
        raise ValueError("--mode=encode needs a model with latents; this one has none")
    losses_fn = losses_and_trace(context.family, training=False)
    suffixes = [f"_{i}" for i in range(len(nodes))] if len(nodes) > 1 else [""]

    def encode(params: Params, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        n = len(next(iter(batch.values())))
        losses, trace = losses_fn(params, batch, key, jnp.int32(context.step))
        scores = trace_metrics(losses, trace)
        result = {k: scores[k].reshape(n, -1).mean(axis=1) for k in ("nll", "kl", "elbo")}
        latents = context.family.model.encode(params, batch, None)
        for node, suffix in zip(latents, suffixes, strict=True):
            result |= _arrays_of(node, suffix, n)
        return result | {k: batch[k] for k in ("label", "factors") if k in batch}

    rows: dict[str, np.ndarray] = context.rows_of_split(encode, Stream.EVALUATION)
    return in_stored_order(rows, context.source.size)


def encode_splits(experiment: Experiment, state: TrainState, split: str) -> dict[str, np.ndarray]:
    """The arrays of `encode_source`, and the names of classes and factors, of a run's data.

    Args:
      experiment: the run.
      state: of its training.
      split: `'train'`; `'eval'`; or `'all'`, all examples in the order of the data, or if the data
        have splits of their own the training split before the evaluation split.

    Raises:
      ValueError: an unknown split, or the model has no latents.
    """
    if split not in SPLITS:
        raise ValueError(f"--split must be one of {', '.join(SPLITS)}, found {split!r}")
    sources = _sources(experiment, split)
    parts = [encode_source(experiment.context(state, source)) for source in sources]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = {"class_names": sources[0].class_names, "factor_names": sources[0].factor_names}
    return arrays | {name: np.array(value) for name, value in names.items() if value}


def _sources(experiment: Experiment, split: str) -> list[Source]:
    config = experiment.config
    if split == "eval":
        return [experiment.data]
    train = load_split(config, "train")
    if split == "train":
        return [train]
    whole = load_split({**config, "data": {**config["data"], "holdout": 0.0}}, "train")
    if whole.size == train.size + experiment.data.size:
        return [whole]
    return [train, experiment.data]


def write_latents(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes an `.npz` file, complete or not at all.

    Raises:
      WriteError: it cannot be written.
    """
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)

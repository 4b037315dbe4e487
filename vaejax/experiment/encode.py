"""The latents of every example of a split, with the terms of its ELBO, as arrays."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.files import replacing
from vaejax.core.game import Batch, Latent, Params, losses_and_trace
from vaejax.core.rng import Stream
from vaejax.core.types import PyTree
from vaejax.data import Source
from vaejax.data.map_split import in_stored_order
from vaejax.distributions import is_discrete
from vaejax.distributions.point_estimate import point_estimate
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.likelihood import importance_sampling_obstacle, log_likelihood
from vaejax.evaluation.model_shapes import latent_shapes
from vaejax.experiment.experiment import Experiment
from vaejax.experiment.other_data import splits_of
from vaejax.losses.metrics import trace_metrics
from vaejax.training.train_step import TrainState

__all__ = ["encode_source", "encode_splits", "save_arrays"]

_SCORES = ("nll", "kl", "elbo")
_PROBES = 64  # rows by which two splits are compared


def _arrays_of(node: Latent, suffix: str, n: int) -> dict[str, jax.Array]:
    q = node.posterior
    if is_discrete(q):
        return {f"indices{suffix}": q.indices}
    result = {f"mean{suffix}": q.mean}
    if hasattr(q, "variance"):
        result[f"scale{suffix}"] = jnp.sqrt(q.variance)
    return {k: v[:: len(v) // n] for k, v in result.items()}  # of several samples, the first


def encode_source(
    context: EvaluationContext, *, reconstructions: bool = False
) -> dict[str, np.ndarray]:
    """Latents and scores of all examples of a split, in the order in which it is stored.

    Args:
      context: the model and the split. With `options.importance_samples` the result has a
        `log_likelihood`, if the model has one.
      reconstructions: whether to return them too.

    Returns:
      `mean` and `scale` (the standard deviation) `[N, D]` of the posteriors, or `indices` of the
      codes `[N, ...]`; with a number appended if the model has several nodes, as `mean_0`. `nll`,
      `kl` and `elbo` `[N]`, nats, from the samples of z of an evaluation; `label` `[N]` and
      `factors` `[N, K]` where the data have them; and `reconstruction` `[N, *event_shape]`, in the
      units of the data, from the posterior means or the most likely codes.

    Raises:
      ValueError: the model has no latents.
    """
    if not (nodes := latent_shapes(context.family, context.source)):
        raise ValueError("--mode=encode needs a model with latents; this one has none")
    model, losses_fn = context.family.model, losses_and_trace(context.family, training=False)
    suffixes = [f"_{i}" for i in range(len(nodes))] if len(nodes) > 1 else [""]
    samples = context.options.importance_samples
    likelihood = (
        log_likelihood(model, samples)
        if samples and not importance_sampling_obstacle(nodes)
        else None
    )

    def encode(params: Params, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        n = len(next(iter(batch.values())))
        losses, trace = losses_fn(params, batch, key, jnp.int32(context.step))
        scores = trace_metrics(losses, trace)
        result = {k: scores[k].reshape(n, -1).mean(axis=1) for k in _SCORES}
        latents = model.encode(params, batch, None)
        for node, suffix in zip(latents, suffixes, strict=True):
            result |= _arrays_of(node, suffix, n)
        if likelihood is not None:
            result["log_likelihood"] = likelihood(params, batch, jax.random.fold_in(key, 1))
        if reconstructions:
            zs = tuple(node.z for node in latents)
            result["reconstruction"] = point_estimate(model.decode(params, zs, batch))
        return result | {k: batch[k] for k in ("label", "factors") if k in batch}

    rows: dict[str, np.ndarray] = context.rows_of_split(encode, Stream.EVALUATION)
    return in_stored_order(rows, context.source.size)


def encode_splits(experiment: Experiment, state: TrainState) -> dict[str, np.ndarray]:
    """The arrays of `encode_source`, and the names of classes and factors, of a run's target.

    With the split `'all'`, all examples in the order of the data; of data with splits of their own,
    these one after the other: train, validation, eval.

    Args:
      experiment: the run.
      state: of its training.

    Raises:
      ValueError: the model has no latents.
    """
    sources = _sources(experiment)
    target = experiment.target
    parts = [
        encode_source(experiment.context(state, source), reconstructions=target.reconstructions)
        for source in sources
    ]
    return joined(parts, sources)


def joined(parts: list[dict[str, np.ndarray]], sources: list[Source]) -> dict[str, np.ndarray]:
    """The arrays of several splits one after the other, with the names of classes and factors."""
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = {"class_names": sources[0].class_names, "factor_names": sources[0].factor_names}
    return arrays | {name: np.array(value) for name, value in names.items() if value}


def _sources(experiment: Experiment) -> list[Source]:
    split = experiment.target.split
    if split == "eval":
        return [experiment.data]
    if split != "all":
        return [experiment.load(split)]
    parts = [experiment.load(name, whole=True) for name in splits_of(experiment.config)]
    return parts[:1] if _are_equal(parts[0], parts[-1]) else parts  # without splits of their own


def _are_equal(a: Source, b: Source) -> bool:
    """Whether two splits are the same examples, by rows that are evenly spread over them."""
    if a.size != b.size:
        return False
    indices = np.unique(np.linspace(0, a.size - 1, _PROBES).astype(np.int32))
    rows: list[PyTree] = [source.take(indices) for source in (a, b)]
    return all(np.array_equal(rows[0][name], rows[1][name]) for name in rows[0])


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an npz file, beside its place and renamed."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]

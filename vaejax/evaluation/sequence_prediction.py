"""Predictions of a sequence model from an observed context: step by step and in one jump."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Model, Params
from vaejax.core.registry import register
from vaejax.core.rng import Stream
from vaejax.data import Source
from vaejax.data.preprocess import event_shape
from vaejax.data.values import fields_of
from vaejax.evaluation.context import EvaluationContext

__all__ = [
    "PredictionErrors",
    "Predictions",
    "context_length",
    "horizon_errors",
    "jumpy_predictions",
    "predict",
]

_HORIZONS = (1, 2, 3, 4, 5, 10, 20, 50, 100)


class Predictions(NamedTuple):
    """Means of p(x_t | z_t) at samples of z, R samples of each sequence.

    Attributes:
      filtered: at z_t given the observations up to t, for the K times of the context,
        `[R, B, K, ...]`.
      rollout: at z_t rolled out step by step from the end of the context, `[R, B, S, ...]`.
    """

    filtered: jax.Array
    rollout: jax.Array


def context_length(length: int) -> int:
    """The number of observed frames that predictions start from: three quarters of a sequence."""
    return max(1, 3 * length // 4)


def _decode_means(model: Model, params: Params, zs: tuple[jax.Array, ...]) -> jax.Array:
    """Means of p(x | z) for z with any leading axes, `[..., D]` each."""
    leading = zs[0].shape[:-1]
    mean = model.decode(params, tuple(z.reshape(-1, z.shape[-1]) for z in zs)).mean
    return mean.reshape(*leading, *mean.shape[1:])


def predict(
    model: Model,
    params: Params,
    context: jax.Array,
    steps: int,
    samples: int,
    key: jax.Array,
    temperature: float | jax.Array = 1.0,
) -> Predictions:
    """Filtered estimates of the observed frames, and rollouts of the following ones.

    Args:
      model: of sequences.
      params: of the model.
      context: observed frames, `[B, K, ...]`.
      steps: S, the length of a rollout.
      samples: R.
      key: of the samples.
      temperature: of the samples.
    """
    sequences = model.sequences
    beliefs = sequences.belief_states(params, context)  # [B, K, D]
    deltas = jnp.ones(steps, jnp.int32)

    def per_sample(key: jax.Array) -> Predictions:
        belief_key, key = jax.random.split(key)
        flat = beliefs.reshape(-1, beliefs.shape[-1])
        zs = sequences.sample_belief(params, flat, belief_key, temperature).zs
        zs = tuple(z.reshape(*beliefs.shape[:2], -1) for z in zs)
        last = tuple(z[:, -1] for z in zs)
        rollout = sequences.rollout(params, last, deltas, key, temperature)
        rollout = tuple(jnp.swapaxes(z, 0, 1) for z in rollout)
        return Predictions(_decode_means(model, params, zs), _decode_means(model, params, rollout))

    return jax.lax.map(per_sample, jax.random.split(key, samples))


def jumpy_predictions(
    model: Model,
    params: Params,
    context: jax.Array,
    deltas: jax.Array,
    samples: int,
    key: jax.Array,
) -> jax.Array:
    """Means of p(x_(K+δ)) `[R, B, S, ...]`, each after one jump from the last observed frame.

    Args:
      model: of sequences.
      params: of the model.
      context: observed frames, `[B, K, ...]`.
      deltas: δ, int32 `[S]`.
      samples: R.
      key: of the samples.
    """
    sequences = model.sequences
    belief = sequences.belief_states(params, context)[:, -1]

    def per_sample(key: jax.Array) -> jax.Array:
        belief_key, key = jax.random.split(key)
        zs = sequences.sample_belief(params, belief, belief_key).zs

        def jump(delta: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
            delta = jnp.broadcast_to(delta, belief.shape[:1])
            return sequences.sample_transition(params, zs, delta, key).zs

        targets = jax.vmap(jump, out_axes=1)(deltas, jax.random.split(key, len(deltas)))
        return _decode_means(model, params, targets)

    return jax.lax.map(per_sample, jax.random.split(key, samples))


def horizon_errors(
    context: EvaluationContext, *, samples: int = 16, examples: int = 1000
) -> dict[str, float]:
    """Squared errors of the expected frames, given the first three quarters of a sequence.

    The expected frame is the mean over samples; errors are averaged over the values of a frame.

    Args:
      context: a model of sequences, and the split.
      samples: that the expected frame is the mean of.
      examples: sequences at most.

    Returns:
      `mse_rollout/h`, h steps ahead step by step; `mse_direct/h` in one jump, up to the longest
      that the model was trained on; `mse_copy_last/h`, of a copy of the last observed frame.
    """
    model = context.family.model
    length = event_shape(context.source)[0]
    observed = context_length(length)
    horizons = [h for h in _HORIZONS if h <= length - observed]
    max_delta = model.sequences.max_delta
    direct = [h for h in horizons if h <= max_delta] if max_delta > 1 else []
    if not horizons:
        return {}

    def sums(params: Params, batch: Batch, key: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        rollout_key, jump_key = jax.random.split(key)
        x = event(batch)
        past, future = x[:, :observed], x[:, observed:]

        def error(expected: jax.Array, hs: list[int]) -> jax.Array:  # [B, S, ...] -> [S]
            actual = future[:, np.array(hs) - 1]
            squares = jnp.square(expected - actual).reshape(*actual.shape[:2], -1).mean(axis=2)
            return jnp.where(mask[:, None], squares, 0.0).sum(axis=0)

        predictions = predict(model, params, past, horizons[-1], samples, rollout_key)
        rollout = predictions.rollout.mean(axis=0)
        last = jnp.repeat(past[:, -1:], len(horizons), axis=1)
        result = {
            "mse_rollout": error(rollout[:, np.array(horizons) - 1], horizons),
            "mse_copy_last": error(last, horizons),
        }
        if direct:
            deltas = jnp.asarray(direct, jnp.int32)
            jumps = jumpy_predictions(model, params, past, deltas, samples, jump_key)
            result["mse_direct"] = error(jumps.mean(axis=0), direct)
        return result

    total, size = context.sum_over_split(sums, Stream.PREDICTION, examples=examples)
    names = {"mse_rollout": horizons, "mse_copy_last": horizons, "mse_direct": direct}
    return {
        f"{name}/{h}": float(value) / size
        for name, values in total.items()
        for h, value in zip(names[name], values, strict=True)
    }


@register("metric", "prediction_errors")
class PredictionErrors:
    """Errors of predicted frames by horizon, of models of sequences: see `horizon_errors`."""

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: a model that does not predict frames, or missing frames."""
        if not family.model.sequences:
            return "it needs a model of sequences, such as TD-VAE"
        if "mask" in fields_of(source):
            return "it needs sequences without padding or missing frames"
        return None

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The metrics of at most 1,000 sequences of a split."""
        return horizon_errors(context)

"""Annealed importance sampling of a split: log p(x), the BDMC gap, and rate and distortion."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Family, Latent, Params
from vaejax.core.rng import key_of
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation
from vaejax.distributions import capabilities_of
from vaejax.evaluation.annealed_importance_sampling import (
    annealed_importance_sampling,
    beta_schedule,
    bidirectional_monte_carlo,
)
from vaejax.losses import event_log_prob, node_kl

__all__ = ["DISTORTION", "RATE", "annealed_metrics", "check_annealing", "is_curve_point"]

ANNEALING = 9  # a separate stream of random keys
RATE, DISTORTION = "rate/", "distortion/"  # prefixes of β in the names of metrics
_POINTS = 16  # of the curve
_ENCODER_SAMPLES = 16  # for the rate and distortion of the encoder


def check_annealing(nodes: Sequence[Latent], batch: Mapping[str, Any]) -> None:
    """Checks that annealed importance sampling applies to a model.

    Args:
      nodes: of the model, of arrays or of shapes.
      batch: of the data, likewise.

    Raises:
      ValueError: the model does not have exactly one node whose prior is a density that can be
        sampled, or it is trained on a part of x.
    """
    if len(nodes) != 1 or not capabilities_of(nodes[0].prior).euclidean:
        kinds = [f"{type(node.prior).__name__} {list(node.z.shape[1:])}" for node in nodes]
        raise ValueError(
            "evaluate.annealing needs a model with one node whose prior is a density, Gaussian or "
            f"a mixture; the priors of this one are: {', '.join(kinds) or 'none'}. Importance "
            "sampling (evaluate.importance_samples) takes any number of nodes with densities"
        )
    if "mask" in batch:
        raise ValueError(
            "evaluate.annealing needs models of whole events, but parts of these are observed "
            "(data.observed_quadrants); use evaluate.importance_samples"
        )


def annealed_metrics(
    family: Family,
    params: Params,
    source: Source,
    *,
    temperatures: int,
    chains: int = 16,
    leapfrog: int = 10,
    step_size: float = 0.1,
    examples: int = 100,
    batch_size: int = 100,
    seed: int = 0,
    binarize: str = "none",
) -> dict[str, float]:
    """Metrics of annealed importance sampling of some examples of a split; nats, means over these.

    `annealed/log_likelihood`, on average a lower bound of log p(x) that does not use the encoder;
    `bdmc_gap`, between the upper and the lower bound of as many examples sampled from the model
    (`bidirectional_monte_carlo`), which measures how tight the bounds are; `annealed/accepted`, the
    fraction of accepted transitions. `rate/β` and `distortion/β` at some temperatures, the best
    that any encoder could reach with this decoder and prior (2008.06653); `rate/q` and
    `distortion/q` of the model's encoder.

    Args:
      family: whose model.
      params: of it, on one device.
      source: the split.
      temperatures: T, from the prior to the posterior.
      chains: for each example.
      leapfrog: steps of a transition.
      step_size: of the first transition.
      examples: number of examples, the first of `eval_order`; 0 for all.
      batch_size: examples at once.
      seed: of all random keys.
      binarize: as in training.

    Raises:
      ValueError: a number is out of range.
    """
    numbers = {"temperatures": temperatures, "chains": chains, "leapfrog": leapfrog}
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"evaluate.annealing.{name} must be at least 1, found {value}")
    size = min(examples or source.size, source.size)
    prepare, model = preparation(source, binarize), family.model
    points = np.unique(np.linspace(0, temperatures - 1, _POINTS).round().astype(int))
    settings: Any = {**numbers, "step_size": step_size}

    @jax.jit
    def batch_sums(params: Params, rows: Any, mask: jax.Array, number: Any) -> dict[str, jax.Array]:
        keys = jax.random.split(key_of(seed, ANNEALING, number), 4)
        batch = prepare(rows, keys[0])
        estimate = annealed_importance_sampling(model, params, batch, keys[1], **settings)
        lower, upper = bidirectional_monte_carlo(model, params, batch, keys[2], **settings)

        def encoder_point(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            (node,) = model.encode(params, batch, key)
            p = model.decode(params, (node.z,), batch)
            return node_kl(node), -event_log_prob(p, event(batch))

        encoder_keys = jax.random.split(keys[3], _ENCODER_SAMPLES)
        rate, distortion = (a.mean(axis=0) for a in jax.lax.map(encoder_point, encoder_keys))
        per_example = {
            "annealed/log_likelihood": estimate.log_p,
            "bdmc_gap": upper - lower,
            "annealed/accepted": jnp.broadcast_to(estimate.accepted.mean(), mask.shape),
            f"{RATE}q": rate,
            f"{DISTORTION}q": distortion,
            RATE: estimate.rate[points],
            DISTORTION: estimate.distortion[points],
        }
        return {name: jnp.where(mask, a, 0.0).sum(axis=-1) for name, a in per_example.items()}

    total: dict[str, Any] = {}
    for number, (indices, mask) in enumerate(
        eval_batches(source.size, min(batch_size, size), size)
    ):
        part = batch_sums(params, source.take(indices), mask, jnp.uint32(number))
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + np.asarray(value, np.float64) / size
    betas = np.asarray(beta_schedule(temperatures))[1:][points]
    curves = {
        f"{name}{beta:.3g}": float(value)
        for name in (RATE, DISTORTION)
        for beta, value in zip(betas, total.pop(name), strict=True)
    }
    return {name: float(value) for name, value in total.items()} | curves


def is_curve_point(name: str) -> bool:
    """Whether a metric is a point of the rate-distortion curve, of which there are many."""
    return name.startswith((RATE, DISTORTION))

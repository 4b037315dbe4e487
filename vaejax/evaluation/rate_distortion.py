"""Annealed importance sampling of a split: log p(x), the BDMC gap, and rate and distortion."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Params
from vaejax.core.registry import register
from vaejax.core.rng import Stream
from vaejax.data import Source
from vaejax.distributions import capabilities_of
from vaejax.evaluation.annealed_importance_sampling import (
    annealed_importance_sampling,
    beta_schedule,
    bidirectional_monte_carlo,
)
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.model_shapes import batch_shapes, latent_shapes
from vaejax.evaluation.options import AnnealingOptions
from vaejax.losses import event_log_prob, node_kl

__all__ = ["DISTORTION", "RATE", "Annealing", "annealed_metrics", "is_curve_point"]

RATE, DISTORTION = "rate/", "distortion/"  # prefixes of β in the names of metrics
_TEMPERATURES = 500
_POINTS = 16  # of the curve
_ENCODER_SAMPLES = 16  # for the rate and distortion of the encoder


def annealed_metrics(context: EvaluationContext, options: AnnealingOptions) -> dict[str, float]:
    """Metrics of annealed importance sampling of some examples of a split; nats, means over these.

    `annealed/log_likelihood`, on average a lower bound of log p(x) that does not use the encoder;
    `bdmc_gap`, between the upper and the lower bound of as many examples sampled from the model
    (`bidirectional_monte_carlo`), which measures how tight the bounds are; `annealed/accepted`, the
    fraction of accepted transitions. `rate/β` and `distortion/β` at some temperatures, the best
    that any encoder could reach with this decoder and prior (2008.06653); `rate/q` and
    `distortion/q` of the model's encoder.

    Args:
      context: the model and the split.
      options: with at least one temperature.
    """
    model, temperatures = context.family.model, options.temperatures
    points = np.unique(np.linspace(0, temperatures - 1, _POINTS).round().astype(int))
    settings = dataclasses.asdict(options)
    examples = settings.pop("examples")

    def sums(params: Params, batch: Batch, key: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        keys = jax.random.split(key, 3)
        estimate = annealed_importance_sampling(model, params, batch, keys[0], **settings)
        lower, upper = bidirectional_monte_carlo(model, params, batch, keys[1], **settings)

        def encoder_point(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            (node,) = model.encode(params, batch, key)
            p = model.decode(params, (node.z,), batch)
            return node_kl(node), -event_log_prob(p, event(batch))

        encoder_keys = jax.random.split(keys[2], _ENCODER_SAMPLES)
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

    total, size = context.sum_over_split(sums, Stream.ANNEALING, examples=examples)
    betas = np.asarray(beta_schedule(temperatures))[1:][points]
    curves = {
        f"{name}{beta:.3g}": float(value) / size
        for name in (RATE, DISTORTION)
        for beta, value in zip(betas, total.pop(name), strict=True)
    }
    return {name: float(value) / size for name, value in total.items()} | curves


@register("metric", "annealing")
class Annealing:
    """Annealed importance sampling and the rate-distortion curve: see `annealed_metrics`.

    With `evaluate.annealing`; with 500 temperatures if the metric is selected by its name alone.
    """

    def requires(self, family: Family, source: Source) -> str | None:
        """Why it does not apply: other latents than one density, or a part of x is given."""
        nodes = latent_shapes(family, source)
        if len(nodes) != 1 or not capabilities_of(nodes[0].prior).euclidean:
            kinds = [f"{type(node.prior).__name__} {list(node.z.shape[1:])}" for node in nodes]
            return (
                "it needs a model with one node whose prior is a density, Gaussian or a mixture; "
                f"the priors of this one are: {', '.join(kinds) or 'none'}. Importance sampling "
                "(evaluate.importance_samples) takes any number of nodes with densities"
            )
        if "hidden" in batch_shapes(source):
            return (
                "it needs models of whole events, but parts of these are observed "
                "(data.observed_quadrants); use evaluate.importance_samples"
            )
        return None

    def compute(self, context: EvaluationContext) -> Mapping[str, float]:
        """The metrics of a split."""
        options = context.options.annealing
        temperatures = options.temperatures or _TEMPERATURES
        return annealed_metrics(context, dataclasses.replace(options, temperatures=temperatures))


def is_curve_point(name: str) -> bool:
    """Whether a metric is a point of the rate-distortion curve, of which there are many."""
    return name.startswith((RATE, DISTORTION))

"""Parts that all models share: conditions, learned constants of the likelihood, steps, sampling."""

from collections.abc import Callable, Mapping

import jax

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.conditions import Condition
from vaejax.core.game import Batch, Latent, Params, Trace
from vaejax.core.types import PyTree
from vaejax.distributions import Distribution
from vaejax.distributions.likelihoods import Likelihood
from vaejax.networks import Network, bind_constants

__all__ = [
    "at_step",
    "condition_reader",
    "generate_with",
    "make_trace",
    "with_encoder_input",
    "with_likelihood_constants",
]

_Zs = tuple[jax.Array, ...]


def with_likelihood_constants(decoder: Network, likelihood: Likelihood) -> Network:
    """The decoder with the learned scalars that the likelihood needs appended to its channels."""
    return bind_constants(decoder, likelihood.constants) if likelihood.constants else decoder


def with_encoder_input(encoder: Network, likelihood: Likelihood) -> Network:
    """The encoder behind the transformation of events that the likelihood declares."""
    transform = likelihood.encoder_input
    if transform is None:
        return encoder
    return Network(
        lambda key, x, *c: encoder.init(key, transform(x), *c),
        lambda params, x, *c: encoder.apply(params, transform(x), *c),
    )


def condition_reader(condition: Condition | None) -> Callable[[Batch | None, int], _Zs]:
    """`(batch, n) -> condition` as a tuple of further inputs of a network.

    The tuple is empty for an unconditional model. If the batch is None it holds the value for n
    examples without a condition.
    """

    def read(batch: Batch | None, n: int) -> _Zs:
        if condition is None:
            return ()
        return (condition.absent(n) if batch is None else condition.read(batch),)

    return read


def at_step(bottleneck: Bottleneck, step: jax.Array | None) -> Bottleneck:
    """The bottleneck as it is at a training step; unchanged outside of training (None)."""
    if bottleneck.training_variant is None or step is None:
        return bottleneck
    return bottleneck.training_variant(step)


def make_trace(
    x: jax.Array,
    likelihood: Distribution,
    latents: tuple[Latent, ...],
    step: jax.Array | None,
    condition: _Zs = (),
    generated: Distribution | None = None,
) -> Trace:
    """The trace of a forward pass; its step is 0 outside of training (None).

    Args:
      x: the event that is explained.
      likelihood: p(x | z).
      latents: the nodes.
      step: of training, or None.
      condition: from `condition_reader`.
      generated: p(x | z) at z ~ prior, or None.
    """
    c = condition[0] if condition else None
    return Trace(x, likelihood, latents, generated, 0 if step is None else step, c)


def generate_with(
    sample_prior: Callable[..., PyTree],
    decode: Callable[[Params, PyTree, Batch | None], Distribution],
) -> Callable[..., Distribution]:
    """`Model.generate`: samples from the prior, then decodes.

    Args:
      sample_prior: `(params, key, n, condition, temperature, **options) -> zs`.
      decode: `(params, zs, condition) -> likelihood`.

    Returns:
      `(params, key, n, condition=None, temperature=1.0, **options) -> likelihood`; the options are
      those of `sample_prior`.
    """

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
        **options: float | jax.Array,
    ) -> Distribution:
        zs = sample_prior(params, key, n, condition, temperature, **options)
        return decode(params, zs, condition)

    return generate

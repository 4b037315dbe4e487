"""Parts that all models share: conditions, learned constants of the likelihood, steps, sampling."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.conditions import Condition
from vaejax.core.events import event, event_mask
from vaejax.core.game import Batch, Latent, Params, Trace
from vaejax.core.types import PyTree
from vaejax.distributions import Distribution, OneHotCodes, is_discrete, with_missing
from vaejax.distributions.likelihoods import Likelihood
from vaejax.networks import Network, apply_masked, bind_constants

__all__ = [
    "at_step",
    "condition_reader",
    "explained",
    "generate_with",
    "latent_with_missing",
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
    masked, mask_of_input = encoder.masked, likelihood.encoder_mask

    def with_mask(params: PyTree, mask: jax.Array, x: jax.Array, *c: jax.Array) -> PyTree:
        read = transform(x)
        if mask_of_input is not None:
            mask = mask_of_input(mask)
            read = jnp.where(mask, read, 0.0)
        return apply_masked(encoder, params, mask, read, *c)

    return encoder._replace(
        init=lambda key, x, *c: encoder.init(key, transform(x), *c),
        apply=lambda params, x, *c: encoder.apply(params, transform(x), *c),
        masked=with_mask if masked or mask_of_input else None,
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


def explained(p: Distribution, batch: Batch | None) -> Distribution:
    """p(x | z) of what is present of the events in a batch; p itself without a mask."""
    if batch is None or "mask" not in batch:
        return p
    return with_missing(p, event(batch), event_mask(batch))


def latent_with_missing(latent: Latent, mask: jax.Array | None) -> Latent:
    """A node without the positions that are not in the mask `[B, ...]`; all without a mask.

    They have z = 0, no KL and, of a quantizer, the index −1 and no distance to a code, so that they
    are excluded from the updates of a codebook.
    """
    if mask is None:
        return latent
    q, p, z = latent

    def fill(x: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim)), x, other)

    z = fill(z, jnp.zeros_like(z))
    if isinstance(q, OneHotCodes):
        zeros = jnp.zeros_like(q.features)
        indices = fill(q.indices, jnp.full_like(q.indices, -1))
        q = OneHotCodes(fill(q.features, zeros), fill(q.codes, zeros), indices, q.size)
        return Latent(q, p, z)
    values = q.indices if is_discrete(q) else z
    return Latent(with_missing(q, values, mask), with_missing(p, values, mask), z)


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

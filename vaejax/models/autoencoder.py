"""Encoder, bottleneck and decoder: one latent node, optionally with a condition or a prior."""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.conditions import Condition
from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace, merge
from vaejax.distributions import Masked, sample_with_temperature
from vaejax.distributions.likelihoods import Likelihood
from vaejax.latents.priors import LatentPrior
from vaejax.models.shared import (
    at_step,
    condition_reader,
    generate_with,
    make_trace,
    with_likelihood_constants,
)
from vaejax.networks import Network

__all__ = ["autoencoder"]


def autoencoder(
    encoder: Network,
    bottleneck: Bottleneck,
    decoder: Network,
    likelihood: Likelihood,
    shape: Sequence[int],
    *,
    prior: LatentPrior | None = None,
    condition: Condition | None = None,
    samples: int = 1,
    generated: bool = False,
) -> Model:
    """A VAE or VQ-VAE, with parameter groups `encoder`, `decoder`, and those of its parts.

    Args:
      encoder: events `[B, *shape]` (and the condition) -> features `[B, ..., bottleneck.width]`.
      bottleneck: features -> `Latent`; it can have parameter groups.
      decoder: z (and the condition) -> features for the likelihood.
      likelihood: those features -> p(x | z).
      shape: of one event.
      prior: replaces the bottleneck's own prior; it can have parameter groups.
      condition: second input of encoder and decoder; None for an unconditional model. If the batch
        has a `mask`, only the masked elements count in log p(x | z), see `distributions.Masked`.
      samples: number of samples of z per example in `forward`. With more than one, the trace has
        `B · samples` rows, and the rows of an example are adjacent.
      generated: whether `forward` also decodes a sample from the prior for each example.
    """
    shape = tuple(shape)
    decoder = with_likelihood_constants(decoder, likelihood)
    read_condition = condition_reader(condition)

    def infer(
        params: Params,
        x: jax.Array,
        c: tuple[jax.Array, ...],
        key: jax.Array | None,
        bottleneck: Bottleneck = bottleneck,
    ) -> Latent:
        chex.assert_shape(x, (None, *shape))
        latent = bottleneck.apply(params, encoder.apply(params["encoder"], x, *c), key)
        if prior is None:
            return latent
        return latent._replace(prior=prior_given(params, latent.z.shape, c, x, bottleneck))

    def prior_given(
        params: Params,
        z_shape: tuple[int, ...],
        c: tuple[jax.Array, ...],
        x: jax.Array | None = None,
        bottleneck: Bottleneck = bottleneck,
    ) -> Any:
        def posterior(params: Params, x: jax.Array) -> Any:
            features = encoder.apply(params["encoder"], x, *read_condition(None, x.shape[0]))
            return bottleneck.apply(params, features, jax.random.key(0)).posterior

        assert prior is not None
        p = prior.apply(params, z_shape, c[0] if c else None, posterior)
        return p if x is None or prior.for_events is None else prior.for_events(params, p, x)

    def sample_prior(
        params: Params,
        key: jax.Array,
        n: int,
        batch: Batch | None,
        temperature: float | jax.Array,
    ) -> tuple[jax.Array]:
        c = read_condition(batch, n)
        x = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
        features = jax.eval_shape(encoder.apply, params["encoder"], x, *c)
        if prior is None:
            return (bottleneck.sample_prior(params, key, features.shape, temperature),)
        z = jax.eval_shape(bottleneck.apply, params, features, key).z
        return (sample_with_temperature(prior_given(params, z.shape, c), key, temperature),)

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        c = read_condition(batch, x.shape[0])
        encoder_key, bottleneck_key, sample_key, decoder_key = jax.random.split(key, 4)
        params: Params = {"encoder": encoder.init(encoder_key, x, *c)}
        features = encoder.apply(params["encoder"], x, *c)
        chex.assert_axis_dimension(features, -1, bottleneck.width)
        merge(params, bottleneck.init(bottleneck_key, features), "the bottleneck")
        latent = bottleneck.apply(params, features, sample_key)
        params["decoder"] = decoder.init(decoder_key, latent.z, *c)
        if prior:
            prior_key = jax.random.fold_in(bottleneck_key, 1)
            merge(params, prior.init(prior_key, latent.z, c[0] if c else None), "the prior")
        return params

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        x = event(batch)
        return (infer(params, x, read_condition(batch, x.shape[0]), key),)

    def decode(params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None) -> Any:
        (z,) = zs
        c = read_condition(condition, z.shape[0])
        p = likelihood.apply(decoder.apply(params["decoder"], z, *c))
        if condition is not None and "mask" in condition:
            return Masked(p, condition["mask"], event(condition))
        return p

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        encode_key, sample_key, prior_key = jax.random.split(key, 3)
        x = event(batch)
        current = at_step(bottleneck, step)
        latent = infer(params, x, read_condition(batch, x.shape[0]), encode_key, current)
        if samples > 1:
            batch, latent = jax.tree.map(
                lambda a: jnp.repeat(a, samples, axis=0), (dict(batch), latent)
            )
            z = latent.posterior.sample(sample_key)
            latent = latent._replace(z=z)
            if prior:  # not repeated above if it does not have a row for each example
                c = read_condition(batch, z.shape[0])
                p = prior_given(params, z.shape, c, event(batch), current)
                latent = latent._replace(prior=p)
        x = event(batch)
        fake = generate(params, prior_key, x.shape[0], batch, 1.0) if generated else None
        p = decode(params, (latent.z,), batch)
        return make_trace(x, p, (latent,), step, read_condition(batch, x.shape[0]), fake)

    generate = generate_with(sample_prior, decode)

    def embed(params: Params, indices: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        assert bottleneck.embed is not None
        (codes,) = indices
        return (bottleneck.embed(params, codes),)

    embedder = embed if bottleneck.embed else None
    return Model(init, forward, encode, decode, generate, embedder)

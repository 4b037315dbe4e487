"""One node: encoder, bottleneck, decoder; on request with a condition and a prior of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.conditions import Condition
from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace, merge
from vaejax.distributions import Masked, draw
from vaejax.distributions.likelihoods import Likelihood
from vaejax.latents.priors import LatentPrior
from vaejax.networks import Network, with_constants


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
    """Parameter groups `encoder`, `decoder`, and those of the bottleneck and the prior.

    Args:
      encoder: events `[B, *shape]` (and the condition) -> features `[B, ..., bottleneck.width]`.
      bottleneck: features -> `Latent`.
      decoder: z (and the condition) -> features for the likelihood.
      likelihood: those features -> p(x | z).
      shape: of one event.
      prior: in place of the bottleneck's own.
      condition: what encoder and decoder receive as a second input; None for nothing. With a
        `mask` in the batch only what it asks for is scored, see `distributions.Masked`.
      samples: draws of z for each example in `forward`. With more than one, the trace has
        `B · samples` rows, those of an example side by side.
      generated: whether `forward` also decodes a draw from the prior for each example.
    """
    shape = tuple(shape)
    if likelihood.constants:
        decoder = with_constants(decoder, likelihood.constants)

    def given(batch: Batch | None, n: int) -> tuple[jax.Array, ...]:
        if condition is None:
            return ()
        return (condition.absent(n) if batch is None else condition.read(batch),)

    def bottle(
        params: Params,
        x: jax.Array,
        c: tuple[jax.Array, ...],
        key: jax.Array | None,
        now: Bottleneck = bottleneck,
    ) -> Latent:
        chex.assert_shape(x, (None, *shape))
        latent = now.apply(params, encoder.apply(params["encoder"], x, *c), key)
        if prior is None:
            return latent
        return latent._replace(prior=prior_of(params, latent.z.shape, c, x, now))

    def prior_of(
        params: Params,
        z_shape: tuple[int, ...],
        c: tuple[jax.Array, ...],
        x: jax.Array | None = None,
        now: Bottleneck = bottleneck,
    ) -> Any:
        def posterior(params: Params, x: jax.Array) -> Any:
            features = encoder.apply(params["encoder"], x, *given(None, x.shape[0]))
            return now.apply(params, features, jax.random.key(0)).posterior

        assert prior is not None
        p = prior.apply(params, z_shape, c[0] if c else None, posterior)
        return p if x is None or prior.given is None else prior.given(params, p, x)

    def draw_z(
        params: Params,
        key: jax.Array,
        n: int,
        c: tuple[jax.Array, ...],
        temperature: float | jax.Array,
    ) -> jax.Array:
        x = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
        features = jax.eval_shape(encoder.apply, params["encoder"], x, *c)
        if prior is None:
            return bottleneck.draw(params, key, features.shape, temperature)
        z = jax.eval_shape(bottleneck.apply, params, features, key).z
        p = prior_of(params, z.shape, c)
        return draw(p, key, temperature)

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        c = given(batch, x.shape[0])
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
        return (bottle(params, x, given(batch, x.shape[0]), key),)

    def decode(
        params: Params, zs: tuple[jax.Array, ...], condition: Mapping[str, jax.Array] | None = None
    ) -> Any:
        (z,) = zs
        p = likelihood.apply(decoder.apply(params["decoder"], z, *given(condition, z.shape[0])))
        if condition is not None and "mask" in condition:
            return Masked(p, condition["mask"], event(condition))
        return p

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        encode_key, sample_key, draw_key = jax.random.split(key, 3)
        x = event(batch)
        now = bottleneck.at(step) if bottleneck.at and step is not None else bottleneck
        latent = bottle(params, x, given(batch, x.shape[0]), encode_key, now)
        if samples > 1:
            batch, latent = jax.tree.map(
                lambda a: jnp.repeat(a, samples, axis=0), (dict(batch), latent)
            )
            z = latent.posterior.sample(sample_key)
            latent = latent._replace(z=z)
            if prior:  # which may not have a row for each example
                c = given(batch, z.shape[0])
                latent = latent._replace(prior=prior_of(params, z.shape, c, event(batch), now))
        x = event(batch)
        fake = None
        if generated:
            z = draw_z(params, draw_key, x.shape[0], given(batch, x.shape[0]), 1.0)
            fake = decode(params, (z,), batch)
        c = given(batch, x.shape[0])
        p = decode(params, (latent.z,), batch)
        return Trace(x, p, (latent,), fake, 0 if step is None else step, c[0] if c else None)

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        z = draw_z(params, key, n, given(condition, n), temperature)
        return decode(params, (z,), condition)

    def embed(params: Params, indices: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        assert bottleneck.embed is not None
        (codes,) = indices
        return (bottleneck.embed(params, codes),)

    embedder = embed if bottleneck.embed else None
    return Model(init, forward, encode, decode, generate, embedder)

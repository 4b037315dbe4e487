"""One node: encoder, bottleneck, decoder."""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vaejax.bottlenecks import Bottleneck
from vaejax.game import Batch, Latent, Model, Params, Trace, merge
from vaejax.likelihoods import Likelihood
from vaejax.networks import Network


def event(batch: Batch) -> jax.Array:
    """What a batch asks to be explained: its `image`, `vector` or `sequence`.

    Raises:
      ValueError: it has none of them.
    """
    for name in ("image", "vector", "sequence"):
        if name in batch:
            return batch[name]
    raise ValueError(f"a batch needs 'image', 'vector' or 'sequence', found {sorted(batch)}")


def autoencoder(
    encoder: Network,
    bottleneck: Bottleneck,
    decoder: Network,
    likelihood: Likelihood,
    shape: Sequence[int],
) -> Model:
    """Parameter groups `encoder`, `decoder`, and the bottleneck's own.

    Args:
      encoder: events `[B, *shape]` -> features `[B, ..., bottleneck.width]`.
      bottleneck: features -> `Latent`.
      decoder: z -> features for the likelihood.
      likelihood: those features -> p(x | z).
      shape: of one event.
    """
    shape = tuple(shape)

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        encoder_key, bottleneck_key, sample_key, decoder_key = jax.random.split(key, 4)
        params: Params = {"encoder": encoder.init(encoder_key, x)}
        features = encoder.apply(params["encoder"], x)
        chex.assert_axis_dimension(features, -1, bottleneck.width)
        merge(params, bottleneck.init(bottleneck_key, features), "the bottleneck")
        latent = bottleneck.apply(params, features, sample_key)
        params["decoder"] = decoder.init(decoder_key, latent.z)
        return params

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        return (bottleneck.apply(params, encoder.apply(params["encoder"], x), key),)

    def decode(params: Params, zs: tuple[jax.Array, ...], condition: Any = None) -> Any:
        del condition
        (z,) = zs
        return likelihood.apply(decoder.apply(params["decoder"], z))

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array) -> Trace:
        latents = encode(params, batch, key)
        p = decode(params, tuple(node.z for node in latents))
        return Trace(event(batch), p, latents, step=step)

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Any = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        x = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
        features = jax.eval_shape(encoder.apply, params["encoder"], x)
        z = bottleneck.draw(params, key, features.shape, temperature)
        return decode(params, (z,), condition)

    return Model(init, forward, encode, decode, generate)

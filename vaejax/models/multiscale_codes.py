"""Codes on several levels (VQ-VAE-2, 1906.00446): each level given those above.

Features go up, codes come down. What the codes above say of a place is its context: a map of
features that the level's encoder and decoder both see.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace, merge
from vaejax.distributions.likelihoods import Likelihood
from vaejax.networks import Rung, with_constants


def multiscale_codes(
    rungs: Sequence[Rung],
    bottlenecks: Sequence[Bottleneck],
    likelihood: Likelihood,
    shape: Sequence[int],
) -> Model:
    """Parameter groups `encoder`, `decoder`, and those of the bottlenecks.

    Args:
      rungs: networks of each level, the top first.
      bottlenecks: of each level, features -> `Latent`, with parameter groups of different names.
      likelihood: features of the bottom decoder -> p(x | z).
      shape: of one event.
    """
    shape, names = tuple(shape), [f"level_{i}" for i in range(len(rungs))]
    if likelihood.constants:
        bottom = with_constants(rungs[-1].decoder, likelihood.constants)
        rungs = [*rungs[:-1], rungs[-1]._replace(decoder=bottom)]

    def given(context: jax.Array | None) -> tuple[jax.Array, ...]:
        return () if context is None else (context,)

    def upward(params: Params, x: jax.Array) -> list[jax.Array]:
        """Features of each level, the top first."""
        chex.assert_shape(x, (None, *shape))
        features: list[jax.Array] = []
        for name, rung in zip(reversed(names), reversed(rungs), strict=True):
            x = rung.encoder.apply(params["encoder"][name], x)
            features.insert(0, x)
        return features

    def downward(
        params: Params, x: jax.Array, key: jax.Array | None, step: jax.Array | None
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        """The nodes, and the features for the likelihood."""
        latents: list[Latent] = []
        context: jax.Array | None = None
        for i, features in enumerate(upward(params, x)):
            rung, now, name = rungs[i], bottlenecks[i], names[i]
            if now.at and step is not None:
                now = now.at(step)
            tokens = rung.tokens.apply(params["encoder"][f"tokens_{i}"], features, *given(context))
            own = None if key is None else jax.random.fold_in(key, i)
            latents.append(now.apply(params, tokens, own))
            context = rung.decoder.apply(params["decoder"][name], latents[-1].z, *given(context))
        assert context is not None
        return tuple(latents), context

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        encoder: dict[str, Any] = {}
        decoder: dict[str, Any] = {}
        features: list[jax.Array] = []
        h = x
        for i, (name, rung) in enumerate(zip(reversed(names), reversed(rungs), strict=True)):
            encoder[name] = rung.encoder.init(jax.random.fold_in(key, i), h)
            h = rung.encoder.apply(encoder[name], h)
            features.insert(0, h)
        params: Params = {"encoder": encoder, "decoder": decoder}
        context: jax.Array | None = None
        for i, (name, rung, bottleneck) in enumerate(zip(names, rungs, bottlenecks, strict=True)):
            keys = jax.random.split(jax.random.fold_in(key, len(rungs) + i), 4)
            own = encoder[f"tokens_{i}"] = rung.tokens.init(keys[0], features[i], *given(context))
            tokens = rung.tokens.apply(own, features[i], *given(context))
            merge(params, bottleneck.init(keys[1], tokens), f"the bottleneck of level {i}")
            z = bottleneck.apply(params, tokens, keys[2]).z
            decoder[name] = rung.decoder.init(keys[3], z, *given(context))
            context = rung.decoder.apply(decoder[name], z, *given(context))
        return params

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        return downward(params, event(batch), key, None)[0]

    def decode(
        params: Params, zs: tuple[jax.Array, ...], condition: Mapping[str, jax.Array] | None = None
    ) -> Any:
        del condition
        context: jax.Array | None = None
        for name, rung, z in zip(names, rungs, zs, strict=True):
            context = rung.decoder.apply(params["decoder"][name], z, *given(context))
        assert context is not None
        return likelihood.apply(context)

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        x = event(batch)
        latents, features = downward(params, x, key, step)
        return Trace(x, likelihood.apply(features), latents, step=0 if step is None else step)

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        x = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
        features = jax.eval_shape(upward, params, x)
        zs = tuple(
            b.draw(params, jax.random.fold_in(key, i), (*f.shape[:-1], b.width), temperature)
            for i, (b, f) in enumerate(zip(bottlenecks, features, strict=True))
        )
        return decode(params, zs, condition)

    def embed(params: Params, indices: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        zs = []
        for bottleneck, codes in zip(bottlenecks, indices, strict=True):
            assert bottleneck.embed is not None
            zs.append(bottleneck.embed(params, codes))
        return tuple(zs)

    embedder = embed if all(b.embed for b in bottlenecks) else None
    return Model(init, forward, encode, decode, generate, embedder)

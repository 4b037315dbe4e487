"""VQ-VAE-2 (1906.00446): codes at several levels, each level given those above.

Features go bottom-up, codes top-down. The context of a level is a feature map decoded from the
codes above; the level's encoder and decoder both receive it.
"""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace, merge
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.shared import at_step, generate_with, make_trace, with_likelihood_constants
from vaejax.networks import LadderLevel

__all__ = ["multiscale_codes"]


def multiscale_codes(
    levels: Sequence[LadderLevel],
    bottlenecks: Sequence[Bottleneck],
    likelihood: Likelihood,
    shape: Sequence[int],
) -> Model:
    """A VQ-VAE-2 with parameter groups `encoder`, `decoder`, and those of the bottlenecks.

    Args:
      levels: networks of each level, the top first.
      bottlenecks: of each level, features -> `Latent`; their parameter groups have different names.
      likelihood: features of the bottom decoder -> p(x | z).
      shape: of one event.
    """
    shape, names = tuple(shape), [f"level_{i}" for i in range(len(levels))]
    bottom = with_likelihood_constants(levels[-1].decoder, likelihood)
    levels = [*levels[:-1], levels[-1]._replace(decoder=bottom)]

    def optional(context: jax.Array | None) -> tuple[jax.Array, ...]:
        return () if context is None else (context,)

    def bottom_up(params: Params, x: jax.Array) -> list[jax.Array]:
        """Features of each level, the top first."""
        chex.assert_shape(x, (None, *shape))
        features: list[jax.Array] = []
        for name, level in zip(reversed(names), reversed(levels), strict=True):
            x = level.encoder.apply(params["encoder"][name], x)
            features.insert(0, x)
        return features

    def top_down(
        params: Params, x: jax.Array, key: jax.Array | None, step: jax.Array | None
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        """The nodes, and the features for the likelihood."""
        latents: list[Latent] = []
        context: jax.Array | None = None
        for i, features in enumerate(bottom_up(params, x)):
            level, bottleneck, inputs = levels[i], at_step(bottlenecks[i], step), optional(context)
            tokens = level.tokens.apply(params["encoder"][f"tokens_{i}"], features, *inputs)
            level_key = None if key is None else jax.random.fold_in(key, i)
            latents.append(bottleneck.apply(params, tokens, level_key))
            context = level.decoder.apply(params["decoder"][names[i]], latents[-1].z, *inputs)
        assert context is not None
        return tuple(latents), context

    def init(key: jax.Array, batch: Batch) -> Params:
        h = event(batch)
        encoder: dict[str, Any] = {}
        decoder: dict[str, Any] = {}
        features: list[jax.Array] = []
        for i, (name, level) in enumerate(zip(reversed(names), reversed(levels), strict=True)):
            encoder[name] = level.encoder.init(jax.random.fold_in(key, i), h)
            h = level.encoder.apply(encoder[name], h)
            features.insert(0, h)
        params: Params = {"encoder": encoder, "decoder": decoder}
        context: jax.Array | None = None
        for i, (name, level, bottleneck) in enumerate(zip(names, levels, bottlenecks, strict=True)):
            keys = jax.random.split(jax.random.fold_in(key, len(levels) + i), 4)
            inputs = optional(context)
            encoder[f"tokens_{i}"] = level.tokens.init(keys[0], features[i], *inputs)
            tokens = level.tokens.apply(encoder[f"tokens_{i}"], features[i], *inputs)
            merge(params, bottleneck.init(keys[1], tokens), f"the bottleneck of level {i}")
            z = bottleneck.apply(params, tokens, keys[2]).z
            decoder[name] = level.decoder.init(keys[3], z, *inputs)
            context = level.decoder.apply(decoder[name], z, *inputs)
        return params

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        return top_down(params, event(batch), key, None)[0]

    def decode(params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None) -> Any:
        del condition
        context: jax.Array | None = None
        for name, level, z in zip(names, levels, zs, strict=True):
            context = level.decoder.apply(params["decoder"][name], z, *optional(context))
        assert context is not None
        return likelihood.apply(context)

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        x = event(batch)
        latents, features = top_down(params, x, key, step)
        return make_trace(x, likelihood.apply(features), latents, step)

    def sample_prior(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> tuple[jax.Array, ...]:
        del condition
        x = jax.ShapeDtypeStruct((n, *shape), jnp.float32)
        features = jax.eval_shape(bottom_up, params, x)
        return tuple(
            b.sample_prior(
                params, jax.random.fold_in(key, i), (*f.shape[:-1], b.width), temperature
            )
            for i, (b, f) in enumerate(zip(bottlenecks, features, strict=True))
        )

    def embed(params: Params, indices: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        zs = []
        for bottleneck, codes in zip(bottlenecks, indices, strict=True):
            assert bottleneck.embed is not None
            zs.append(bottleneck.embed(params, codes))
        return tuple(zs)

    embedder = embed if all(b.embed for b in bottlenecks) else None
    return Model(init, forward, encode, decode, generate_with(sample_prior, decode), embedder)

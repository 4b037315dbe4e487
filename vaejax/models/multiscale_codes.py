"""VQ-VAE-2 (1906.00446): codes at several levels, each level given those above.

Features go bottom-up, codes top-down. The context of a level is a feature map decoded from the
codes above; the level's encoder and decoder both receive it.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.events import check_event, event
from vaejax.core.game import Batch, Latent, Model, Params, Trace, merge
from vaejax.distributions import Distribution
from vaejax.distributions.likelihoods import Likelihood
from vaejax.models.shared import at_step, generate_with, make_trace, with_likelihood_constants
from vaejax.networks import LadderLevel

__all__ = ["MultiscaleCodes", "multiscale_codes"]


@dataclasses.dataclass(frozen=True)
class MultiscaleCodes:
    """The functions of the model that `multiscale_codes` returns; the attributes are its arguments.

    The last level's decoder also gives the constants that the likelihood needs.
    """

    levels: tuple[LadderLevel, ...]
    bottlenecks: tuple[Bottleneck, ...]
    likelihood: Likelihood
    shape: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """Of the levels, in the parameter groups."""
        return [f"level_{i}" for i in range(len(self.levels))]

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Parameters of all networks and of the bottlenecks."""
        encoder, features = self.init_bottom_up(key, event(batch))
        decoder: Params = {}
        params: Params = {"encoder": encoder, "decoder": decoder}
        context: jax.Array | None = None
        rows = zip(self.names, self.levels, self.bottlenecks, strict=True)
        for i, (name, level, bottleneck) in enumerate(rows):
            keys = jax.random.split(jax.random.fold_in(key, len(self.levels) + i), 4)
            inputs = _optional(context)
            encoder[f"tokens_{i}"] = level.tokens.init(keys[0], features[i], *inputs)
            tokens = level.tokens.apply(encoder[f"tokens_{i}"], features[i], *inputs)
            merge(params, bottleneck.init(keys[1], tokens), f"the bottleneck of level {i}")
            z = bottleneck.apply(params, tokens, keys[2]).z
            decoder[name] = level.decoder.init(keys[3], z, *inputs)
            context = level.decoder.apply(decoder[name], z, *inputs)
        return params

    def init_bottom_up(self, key: jax.Array, x: jax.Array) -> tuple[Params, list[jax.Array]]:
        """Parameters of the levels' encoders, and the features of each level, the top first."""
        encoder: Params = {}
        features: list[jax.Array] = []
        for i, (name, level) in enumerate(self._upwards()):
            encoder[name] = level.encoder.init(jax.random.fold_in(key, i), x)
            x = level.encoder.apply(encoder[name], x)
            features.insert(0, x)
        return encoder, features

    def _upwards(self) -> list[tuple[str, LadderLevel]]:
        """Names and levels, the bottom first."""
        return list(zip(reversed(self.names), reversed(self.levels), strict=True))

    def bottom_up(self, params: Params, x: jax.Array) -> list[jax.Array]:
        """Features of each level, the top first."""
        check_event(x, self.shape)
        features: list[jax.Array] = []
        for name, level in self._upwards():
            x = level.encoder.apply(params["encoder"][name], x)
            features.insert(0, x)
        return features

    def top_down(
        self, params: Params, x: jax.Array, key: jax.Array | None, step: jax.Array | None
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        """The nodes, and the features for the likelihood."""
        latents: list[Latent] = []
        context: jax.Array | None = None
        for i, features in enumerate(self.bottom_up(params, x)):
            level, bottleneck = self.levels[i], at_step(self.bottlenecks[i], step)
            inputs = _optional(context)
            tokens = level.tokens.apply(params["encoder"][f"tokens_{i}"], features, *inputs)
            level_key = None if key is None else jax.random.fold_in(key, i)
            latents.append(bottleneck.apply(params, tokens, level_key))
            group = params["decoder"][self.names[i]]
            context = level.decoder.apply(group, latents[-1].z, *inputs)
        assert context is not None
        return tuple(latents), context

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """The nodes given the events."""
        return self.top_down(params, event(batch), key, None)[0]

    def decode(
        self, params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None
    ) -> Distribution:
        """p(x | z) given the z of all levels."""
        del condition
        context: jax.Array | None = None
        for name, level, z in zip(self.names, self.levels, zs, strict=True):
            context = level.decoder.apply(params["decoder"][name], z, *_optional(context))
        assert context is not None
        return self.likelihood.apply(context)

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace of the events."""
        x = event(batch)
        latents, features = self.top_down(params, x, key, step)
        return make_trace(x, self.likelihood.apply(features), latents, step)

    def sample_prior(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> tuple[jax.Array, ...]:
        """z of every level, at samples of its codes from their prior."""
        del condition
        x = jax.ShapeDtypeStruct((n, *self.shape), jnp.float32)
        features = jax.eval_shape(self.bottom_up, params, x)
        zs = []
        for i, (bottleneck, f) in enumerate(zip(self.bottlenecks, features, strict=True)):
            level_key, shape = jax.random.fold_in(key, i), (*f.shape[:-1], bottleneck.width)
            zs.append(bottleneck.sample_prior(params, level_key, shape, temperature))
        return tuple(zs)

    def embed(self, params: Params, indices: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """z of the codes of every level."""
        zs = []
        for bottleneck, codes in zip(self.bottlenecks, indices, strict=True):
            assert bottleneck.embed is not None
            zs.append(bottleneck.embed(params, codes))
        return tuple(zs)


def _optional(context: jax.Array | None) -> tuple[jax.Array, ...]:
    """The context as further inputs of a network: none at the top level."""
    return () if context is None else (context,)


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
    bottom = with_likelihood_constants(levels[-1].decoder, likelihood)
    levels = (*levels[:-1], levels[-1]._replace(decoder=bottom))
    model = MultiscaleCodes(levels, tuple(bottlenecks), likelihood, tuple(shape))
    generate = generate_with(model.sample_prior, model.decode)
    embed = model.embed if all(b.embed for b in bottlenecks) else None
    return Model(model.init, model.forward, model.encode, model.decode, generate, embed)

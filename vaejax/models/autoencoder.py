"""Encoder, bottleneck and decoder: one latent node, optionally with a condition or a prior."""

import dataclasses
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.conditions import Condition
from vaejax.core.events import check_event, event, event_mask
from vaejax.core.game import Batch, Latent, Model, Params, Trace, merge
from vaejax.core.tensor_axis import over_examples
from vaejax.distributions import Distribution, Masked, WithMissing, sample_with_temperature
from vaejax.distributions.likelihoods import Likelihood
from vaejax.latents.priors import LatentPrior
from vaejax.models.shared import (
    at_step,
    condition_reader,
    explained,
    latent_with_missing,
    make_trace,
    with_encoder_input,
    with_likelihood_constants,
)
from vaejax.networks import Network, apply_masked

__all__ = ["Autoencoder", "autoencoder"]


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """The functions of the model that `autoencoder` returns; most attributes are its arguments.

    c is the condition as a tuple of further inputs of the networks, see `condition_reader`.
    """

    encoder: Network
    bottleneck: Bottleneck
    decoder: Network
    likelihood: Likelihood
    shape: tuple[int, ...]
    prior: LatentPrior | None
    read_condition: Callable[[Batch | None, int], tuple[jax.Array, ...]]
    samples: int
    generated: bool

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Parameters of all networks and of the bottleneck and the prior."""
        x = event(batch)
        c = self.read_condition(batch, x.shape[0])
        encoder_key, bottleneck_key, sample_key, decoder_key = jax.random.split(key, 4)
        params: Params = {"encoder": self.encoder.init(encoder_key, x, *c)}
        mask = event_mask(batch)
        features = apply_masked(self.encoder, params["encoder"], mask, x, *c)
        chex.assert_axis_dimension(features, -1, self.bottleneck.width)
        features = _cycle_present(features, self.feature_mask(mask, features))
        merge(params, self.bottleneck.init(bottleneck_key, features), "the bottleneck")
        latent = self.bottleneck.apply(params, features, sample_key)
        params["decoder"] = self.decoder.init(decoder_key, latent.z, *c)
        if self.prior:
            prior_key = jax.random.fold_in(bottleneck_key, 1)
            groups = self.prior.init(prior_key, latent.z, c[0] if c else None)
            merge(params, groups, "the prior")
        return params

    def infer(
        self, params: Params, batch: Batch, key: jax.Array | None, bottleneck: Bottleneck
    ) -> Latent:
        """The node given events; the bottleneck is the model's own or its training variant."""
        x, mask = event(batch), event_mask(batch)
        c = self.read_condition(batch, x.shape[0])
        check_event(x, self.shape)
        features = apply_masked(self.encoder, params["encoder"], mask, x, *c)
        latent = bottleneck.apply(params, features, key)
        if self.prior is not None:
            prior = self.prior_given(params, latent.z.shape, c, x, bottleneck)
            latent = latent._replace(prior=prior)
        return latent_with_missing(latent, self.feature_mask(mask, features))

    def feature_mask(self, mask: jax.Array | None, features: jax.Array) -> jax.Array | None:
        """The mask of the positions of the features `[B, ..., W]`; None if all are present.

        Raises:
          ValueError: the encoder does not say which of its features depend on missing values alone.
        """
        if mask is None or features.ndim == 2:
            return None
        if self.encoder.feature_mask is None:
            raise ValueError(
                "the data have a mask, but the features of this encoder have positions and no "
                "`feature_mask`: use the networks 'residual' or 'residual_1d', or one vector of z"
            )
        return self.encoder.feature_mask(mask)

    def prior_given(
        self,
        params: Params,
        z_shape: tuple[int, ...],
        c: tuple[jax.Array, ...],
        x: jax.Array | None,
        bottleneck: Bottleneck,
    ) -> Distribution:
        """p(z | c) of the learned prior, extended by what the KL of the events x needs."""

        def posterior(params: Params, x: jax.Array) -> Distribution:
            unknown = self.read_condition(None, x.shape[0])
            features = self.encoder.apply(params["encoder"], x, *unknown)
            return bottleneck.apply(params, features, jax.random.key(0)).posterior

        assert self.prior is not None
        p = self.prior.apply(params, z_shape, c[0] if c else None, posterior)
        if x is None or self.prior.for_events is None:
            return p
        return self.prior.for_events(params, p, x)

    def sample_prior(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        batch: Batch | None,
        temperature: float | jax.Array,
    ) -> tuple[jax.Array]:
        """z of n samples from the prior, given the condition in the batch."""
        c = self.read_condition(batch, n)
        x = jax.ShapeDtypeStruct((n, *self.shape), jnp.float32)
        features = jax.eval_shape(self.encoder.apply, params["encoder"], x, *c)
        if self.prior is None:
            return (self.bottleneck.sample_prior(params, key, features.shape, temperature),)
        z = jax.eval_shape(self.bottleneck.apply, params, features, key).z
        p = self.prior_given(params, z.shape, c, None, self.bottleneck)
        return (sample_with_temperature(p, key, temperature),)

    def generate(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Distribution:
        """p(x | z) at n samples from the prior."""
        zs = over_examples(self.sample_prior(params, key, n, condition, temperature))
        return self.decode(params, zs, condition)

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """The node given the events."""
        return (self.infer(params, batch, key, self.bottleneck),)

    def decode(
        self, params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None
    ) -> Distribution:
        """p(x | z), of the `hidden` elements alone, or of those in the `mask`, of a batch."""
        (z,) = zs
        c = self.read_condition(condition, z.shape[0])
        mask = None if condition is None else event_mask(condition)
        p = self.likelihood.apply(apply_masked(self.decoder, params["decoder"], mask, z, *c))
        if condition is not None and "hidden" in condition:
            p = Masked(p, condition["hidden"], event(condition))
        return explained(p, condition)

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace, with `samples` rows for each event."""
        encode_key, sample_key, prior_key = jax.random.split(key, 3)
        bottleneck = at_step(self.bottleneck, step)
        latent = self.infer(params, batch, encode_key, bottleneck)
        if self.samples > 1:
            batch, latent = self._repeat(params, batch, latent, sample_key, bottleneck)
        x = event(batch)
        n = x.shape[0]
        fake = self.generate(params, prior_key, n, batch) if self.generated else None
        p = self.decode(params, (latent.z,), batch)
        return make_trace(x, p, (latent,), step, self.read_condition(batch, n), fake)

    def _repeat(
        self, params: Params, batch: Batch, latent: Latent, key: jax.Array, bottleneck: Bottleneck
    ) -> tuple[Batch, Latent]:
        """The batch and the node with each row `samples` times, and a sample of z in each."""
        batch, latent = jax.tree.map(
            lambda a: jnp.repeat(a, self.samples, axis=0), (dict(batch), latent)
        )
        z = latent.posterior.sample(key)
        latent = latent._replace(z=z)
        if self.prior:  # not repeated above if it does not have a row for each example
            c = self.read_condition(batch, z.shape[0])
            p = self.prior_given(params, z.shape, c, event(batch), bottleneck)
            if isinstance(latent.prior, WithMissing):
                p = WithMissing(p, latent.prior.mask)
            latent = latent._replace(prior=p)
        return batch, latent

    def embed(self, params: Params, indices: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """z of the codes of the one node."""
        assert self.bottleneck.embed is not None
        (codes,) = indices
        return (self.bottleneck.embed(params, codes),)


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
        has the field `hidden`, only these elements count in log p(x | z), see
        `distributions.Masked`; if it has a `mask`, only those in it, see `WithMissing`.
      samples: number of samples of z per example in `forward`. With more than one, the trace has
        `B · samples` rows, and the rows of an example are adjacent.
      generated: whether `forward` also decodes a sample from the prior for each example.
    """
    model = Autoencoder(
        with_encoder_input(encoder, likelihood), bottleneck,
        with_likelihood_constants(decoder, likelihood), likelihood,
        tuple(shape), prior, condition_reader(condition), samples, generated,
    )  # fmt: skip
    embed = model.embed if bottleneck.embed else None
    functions = (model.init, model.forward, model.encode, model.decode, model.generate, embed)
    layer = model.decoder.last_layer and f"decoder/{model.decoder.last_layer}"
    return Model(*functions, honours_mask=True, last_layer=layer)


def _cycle_present(features: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Features `[B, ..., W]` whose missing positions repeat the present ones of the batch.

    A bottleneck is initialised from them, so that its codebook does not start at padding.
    """
    if mask is None:
        return features
    flat, count = features.reshape(-1, features.shape[-1]), jnp.maximum(mask.sum(), 1)
    (present,) = jnp.nonzero(mask.reshape(-1), size=mask.size, fill_value=0)
    return flat[present[jnp.arange(mask.size) % count]].reshape(features.shape)

"""A trained model and a prior learned over its latents, combined into one model of the data."""

import dataclasses
from typing import cast

import jax
import jax.numpy as jnp

from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.token_layout import Layout
from vaejax.distributions import Categorical, Distribution, OfVector, WithMissing
from vaejax.models.shared import generate_with
from vaejax.quantizers.token_layout import codes_of_nodes

__all__ = ["TwoStageModel", "two_stage_model"]


@dataclasses.dataclass(frozen=True)
class TwoStageModel:
    """The functions of the model that `two_stage_model` returns, with its arguments."""

    first: Model
    prior: Model
    layout: Layout | None
    shape: tuple[int, ...]

    def latent_batch(self, latents: tuple[Latent, ...], batch: Batch) -> Batch:
        """The latents as a batch of the prior, with the labels."""
        label = {"label": batch["label"]} if "label" in batch else {}
        if self.layout is None:
            return {"vector": latents[0].z.reshape(latents[0].z.shape[0], -1), **label}
        tokens = self.layout.flatten(codes_of_nodes(latents))
        if "mask" in batch:  # codes of missing values have the index −1
            return {"tokens": jnp.maximum(tokens, 0), "mask": tokens >= 0, **label}
        return {"tokens": tokens, **label}

    def with_learned_prior(
        self, params: Params, latents: tuple[Latent, ...], batch: Batch, key: jax.Array | None
    ) -> tuple[tuple[Latent, ...], jax.Array | None]:
        """The latents with the learned prior, and the prior's condition."""
        trace = self.prior.forward(params["second"], self.latent_batch(latents, batch), key, None)
        if self.layout is None:
            prior = trace.likelihood
            if len(self.shape) > 1:
                prior = OfVector(prior, self.shape)
            return (latents[0]._replace(prior=prior),), trace.condition
        p = trace.likelihood
        p = p.base if isinstance(p, WithMissing) else p
        parts = self.layout.split(cast(Categorical, p).logits)
        priors = [
            Categorical(part[..., : node.size])
            for part, node in zip(parts, self.layout.nodes, strict=True)
        ]
        nodes = [node._replace(prior=p) for node, p in zip(latents, priors, strict=True)]
        return tuple(nodes), trace.condition

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Parameters of both stages."""
        first_key, encode_key, second_key = jax.random.split(key, 3)
        params = self.first.init(first_key, batch)
        latents = self.first.encode(params, batch, encode_key)
        return {
            "first": params,
            "second": self.prior.init(second_key, self.latent_batch(latents, batch)),
        }

    def forward(
        self, params: Params, batch: Batch, key: jax.Array, step: jax.Array | None
    ) -> Trace:
        """The trace of the first stage, with the learned prior."""
        trace = self.first.forward(params["first"], batch, key, step)
        latents, condition = self.with_learned_prior(params, trace.latents, batch, key)
        return trace._replace(latents=latents, condition=condition)

    def encode(self, params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        """The nodes of the first stage, with the learned prior."""
        latents = self.first.encode(params["first"], batch, key)
        return self.with_learned_prior(params, latents, batch, key)[0]

    def decode(
        self, params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None
    ) -> Distribution:
        """p(x | z) of the first stage."""
        return self.first.decode(params["first"], zs, condition)

    def embed(self, params: Params, codes: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """z of codes, by the first stage."""
        assert self.first.embed is not None
        return self.first.embed(params["first"], codes)

    def sample_prior(
        self,
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
        **options: float | jax.Array,
    ) -> tuple[jax.Array, ...]:
        """z of n samples from the learned prior."""
        p = self.prior.generate(params["second"], key, n, condition, temperature, **options)
        sampled = p.mean
        if self.layout is None:
            return (sampled.reshape(-1, *self.shape) if self.shape else sampled,)
        return self.embed(params, self.layout.split(sampled))


def two_stage_model(
    first: Model, prior: Model, layout: Layout | None, shape: tuple[int, ...] = ()
) -> Model:
    """`first` with its prior replaced; parameters `{"first": ..., "second": ...}`.

    Its trace is an ordinary one, so that `nll`, `kl`, `elbo` and bits per dimension are those of
    the combined model. For codes, the KL of a node is −log p of its codes given those before them
    in the layout, and the sum over the nodes is −log p(codes), exactly. For a continuous z, it is
    the one-sample estimate log q(z | x) − log p(z).

    Args:
      first: an unconditional model.
      prior: of its tokens (`second_stage.code_prior`), or of its one latent vector
        (`second_stage.gaussian_mixture`); if it is conditional, so is the combined model.
      layout: of the tokens; None for a vector or a map.
      shape: of a continuous latent of one example, `(h, w, C)` of a map; `()` for a vector.
    """
    model = TwoStageModel(first, prior, layout, shape)
    # The condition is that of the prior: the first stage is unconditional.
    generate = generate_with(
        model.sample_prior, lambda params, zs, condition: model.decode(params, zs)
    )
    embed = None if first.embed is None else model.embed
    functions = (model.init, model.forward, model.encode, model.decode, generate, embed)
    return Model(*functions, honours_mask=first.honours_mask and prior.honours_mask)

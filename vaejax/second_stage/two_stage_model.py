"""A trained model and a prior learned over its latents, combined into one model of the data."""

from typing import Any

import jax

from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.token_layout import Layout
from vaejax.distributions import Categorical
from vaejax.models.shared import generate_with

__all__ = ["two_stage_model"]


def two_stage_model(first: Model, prior: Model, layout: Layout | None) -> Model:
    """`first` with its prior replaced; parameters `{"first": ..., "second": ...}`.

    Its trace is an ordinary one, so that `nll`, `kl`, `elbo` and bits per dimension are those of
    the combined model. For codes, the KL of a node is −log p of its codes given those before them
    in the layout, and the sum over the nodes is −log p(codes), exactly. For a continuous z, it is
    the one-sample estimate log q(z | x) − log p(z).

    Args:
      first: an unconditional model.
      prior: of its tokens (`second_stage.code_prior`), or of its one latent vector
        (`second_stage.gaussian_mixture`); if it is conditional, so is the combined model.
      layout: of the tokens; None for a vector.
    """

    def latent_batch(latents: tuple[Latent, ...], batch: Batch) -> Batch:
        """The latents as a batch of the prior, with the labels."""
        label = {"label": batch["label"]} if "label" in batch else {}
        if layout is None:
            return {"vector": latents[0].z, **label}
        return {"tokens": layout.flatten([node.posterior.indices for node in latents]), **label}

    def with_learned_prior(
        params: Params, latents: tuple[Latent, ...], batch: Batch, key: jax.Array | None
    ) -> tuple[tuple[Latent, ...], Any]:
        """The latents with the learned prior, and the prior's condition."""
        trace = prior.forward(params["second"], latent_batch(latents, batch), key, None)
        if layout is None:
            return (latents[0]._replace(prior=trace.likelihood),), trace.condition
        parts = layout.split(trace.likelihood.logits)
        priors = [
            Categorical(part[..., : node.size])
            for part, node in zip(parts, layout.nodes, strict=True)
        ]
        nodes = [node._replace(prior=p) for node, p in zip(latents, priors, strict=True)]
        return tuple(nodes), trace.condition

    def init(key: jax.Array, batch: Batch) -> Params:
        first_key, encode_key, second_key = jax.random.split(key, 3)
        params = first.init(first_key, batch)
        latents = first.encode(params, batch, encode_key)
        return {"first": params, "second": prior.init(second_key, latent_batch(latents, batch))}

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        trace = first.forward(params["first"], batch, key, step)
        latents, condition = with_learned_prior(params, trace.latents, batch, key)
        return trace._replace(latents=latents, condition=condition)

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        latents = first.encode(params["first"], batch, key)
        return with_learned_prior(params, latents, batch, key)[0]

    def decode(params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None) -> Any:
        return first.decode(params["first"], zs, condition)

    def sample_prior(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
        **options: Any,
    ) -> tuple[jax.Array, ...]:
        p = prior.generate(params["second"], key, n, condition, temperature, **options)
        sampled = p.mean
        if layout is None:
            return (sampled,)
        assert first.embed is not None
        return first.embed(params["first"], layout.split(sampled))

    # The condition is that of the prior: the first stage is unconditional.
    generate = generate_with(sample_prior, lambda params, zs, condition: decode(params, zs))
    return Model(init, forward, encode, decode, generate)

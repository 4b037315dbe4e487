"""A trained model and a prior learned afterwards over its latents, as one model of the data."""

from collections.abc import Mapping
from typing import Any

import jax

from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.distributions import Categorical
from vaejax.quantizers.token_layout import Layout


def with_prior(first: Model, prior: Model, layout: Layout | None) -> Model:
    """`first` with `prior` in the place of its own; parameters `{"first": ..., "second": ...}`.

    Its trace is an ordinary one, so that `nll`, `kl`, `elbo` and bits per dimension are those of
    the whole. Of codes, the KL of a node is −log p of its codes given those before them in the
    layout, and the sum over the nodes −log p(codes), exactly. Of a continuous z, it is the
    estimate log q(z | x) − log p(z) by the one draw.

    Args:
      first: a model without a condition.
      prior: of its tokens (`priors.codes`), or of its one vector (`priors.full_mixture`); where it
        is conditional, so is the whole.
      layout: of the tokens; None for a vector.
    """

    def of_latents(latents: tuple[Latent, ...], batch: Batch) -> Batch:
        """What the prior explains."""
        label = {"label": batch["label"]} if "label" in batch else {}
        if layout is None:
            return {"vector": latents[0].z, **label}
        return {"tokens": layout.flatten([node.posterior.indices for node in latents]), **label}

    def judged(
        params: Params, latents: tuple[Latent, ...], batch: Batch, key: jax.Array
    ) -> tuple[tuple[Latent, ...], Any]:
        """The latents with the learned prior, and the condition that it was given."""
        trace = prior.forward(params["second"], of_latents(latents, batch), key, None)
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
        return {"first": params, "second": prior.init(second_key, of_latents(latents, batch))}

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        trace = first.forward(params["first"], batch, key, step)
        latents, condition = judged(params, trace.latents, batch, key)
        return trace._replace(latents=latents, condition=condition)

    def encode(params: Params, batch: Batch, key: jax.Array) -> tuple[Latent, ...]:
        return judged(params, first.encode(params["first"], batch, key), batch, key)[0]

    def decode(params: Params, zs: tuple[jax.Array, ...], condition: Batch | None = None) -> Any:
        return first.decode(params["first"], zs, condition)

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
        **sampling: Any,
    ) -> Any:
        drawn = prior.generate(params["second"], key, n, condition, temperature, **sampling).mean
        zs: tuple[jax.Array, ...] = (drawn,)
        if layout is not None:
            assert first.embed is not None
            zs = first.embed(params["first"], layout.split(drawn))
        return first.decode(params["first"], zs, None)

    return Model(init, forward, encode, decode, generate)

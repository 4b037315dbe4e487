"""Hierarchical VAEs: features go bottom-up, latents top-down, each given the ones above it.

LVAE (1602.02282), VDVAE (2011.10650) and NVAE (2007.03898) are this topology with other networks
and another `merge` of prior and encoder features: their configs differ, the code does not. Blocks
of one shape form a stage and run as one loop, so that compile time does not grow with depth.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Latent, Model, Params, Trace
from vaejax.core.registry import near_names
from vaejax.distributions import Normal
from vaejax.distributions.likelihoods import Likelihood
from vaejax.latents.bottlenecks import MIN_SCALE, soft_normal
from vaejax.models.shared import generate_with, make_trace, with_likelihood_constants
from vaejax.networks import Network

__all__ = ["MERGES", "Stage", "ladder"]


def _posterior_only(prior: Normal, encoder: Normal) -> Normal:
    """The encoder's density, whose network receives h as an input (VDVAE, 2011.10650, sec. 3.1)."""
    del prior
    return encoder


def _precision(prior: Normal, encoder: Normal) -> Normal:
    """The normalised product of the two densities (LVAE, 1602.02282, eq. 17–18)."""
    a, b = 1.0 / jnp.square(encoder.scale), 1.0 / jnp.square(prior.scale)
    variance = 1.0 / (a + b)
    return Normal((encoder.loc * a + prior.loc * b) * variance, jnp.sqrt(variance))


def _residual(prior: Normal, encoder: Normal) -> Normal:
    """The prior shifted and scaled by the encoder's output (NVAE, 2007.03898, section 3.2)."""
    return Normal(prior.loc + encoder.loc, prior.scale * encoder.scale)


# (prior, density of the encoder's features) -> posterior
MERGES: Mapping[str, Callable[[Normal, Normal], Normal]] = {
    "posterior_only": _posterior_only,
    "precision": _precision,
    "residual": _residual,
}


class Stage(NamedTuple):
    """Consecutive blocks of one shape; each block has one latent.

    h is the top-down activation that a block receives and returns.

    Attributes:
      blocks: number of blocks.
      enter: h of the stage above -> h of this one; for the top stage, zeros `[n, 1]` -> h.
      prior: h -> features of p(z | latents above), followed by the residual for `update`.
      posterior: (h, bottom-up activations of this stage) -> features of q, before the merge.
      update: (h, residual, z) -> h.
      merge: how q is computed from the prior and the posterior features: one of `MERGES`.
    """

    blocks: int
    enter: Network
    prior: Network
    posterior: Network
    update: Network
    merge: str = "posterior_only"


def ladder(
    bottom_up: Network,
    stages: Sequence[Stage],
    output: Network,
    likelihood: Likelihood,
    shape: Sequence[int],
    *,
    latent_dims: Sequence[int],
    remat: bool = True,
    min_scale: float = MIN_SCALE,
) -> Model:
    """A hierarchical VAE with parameter groups `encoder` (bottom-up, posteriors) and `decoder`.

    `decode` takes the z of every block, or only those of the first k, top-down: the others are then
    sampled from their priors with its arguments `key` and `temperature`, or are prior means if the
    key is None. `generate` takes one temperature, or one for each block `[L]`.

    Args:
      bottom_up: event -> activations of each stage, the top first.
      stages: the top first.
      output: h of the last stage -> features for the likelihood.
      likelihood: p(x | z).
      shape: of one event.
      latent_dims: channels of z in each stage.
      remat: whether the backward pass recomputes the activations of blocks in a loop, which saves
        memory.
      min_scale: lower bound of the standard deviations of priors and of the encoder's densities.
        Where a latent is unused both shrink to it, and the KL then penalises noise of the encoder
        by its square.

    Raises:
      ValueError: a merge is unknown, or `min_scale` is not between 0 and 1.
    """
    shape, stages = tuple(shape), tuple(stages)
    for stage in stages:
        if stage.merge not in MERGES:
            raise ValueError(f"unknown merge of a ladder {near_names(stage.merge, MERGES)}")
    if not 0 < min_scale < 1:
        raise ValueError(f"min_scale must be between 0 and 1, found {min_scale}")
    output = with_likelihood_constants(output, likelihood)
    names = [f"stage_{i}" for i in range(len(stages))]
    total = sum(stage.blocks for stage in stages)

    def top_down(
        params: Params,
        n: int,
        key: jax.Array | None,
        activations: tuple[jax.Array, ...] | None,
        zs: tuple[jax.Array, ...],
        temperature: float | jax.Array,
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        """All nodes, top-down, and the features for the likelihood.

        Args:
          params: of the model.
          n: number of examples.
          key: for samples; None for means.
          activations: bottom-up; None to sample from the priors.
          zs: given values of the first latents.
          temperature: of samples from the priors, scalar or `[L]`.
        """
        temperatures = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (total,))
        latents: list[Latent] = []
        h = jnp.zeros((n, 1))
        for i, (name, stage, dim) in enumerate(zip(names, stages, latent_dims, strict=True)):
            stage_params, first = params["decoder"][name], len(latents)
            h = stage.enter.apply(stage_params["enter"], h)

            def block(
                h: jax.Array,
                inputs: Any,
                stage: Stage = stage,
                dim: int = dim,
                activation: Any = activations[i] if activations is not None else None,
            ) -> tuple[jax.Array, Latent]:
                down_params, up_params, number, temperature, fixed = inputs
                features = stage.prior.apply(down_params["prior"], h)
                prior_features, residual = features[..., : 2 * dim], features[..., 2 * dim :]
                p = soft_normal(prior_features, min_scale)
                q = p
                if activation is not None:
                    features = stage.posterior.apply(up_params, h, activation)
                    q = MERGES[stage.merge](p, soft_normal(features, min_scale))
                z = q.loc
                if key is not None:
                    noise = q.sample(jax.random.fold_in(key, number)) - q.loc
                    z = z + (noise if activation is not None else temperature * noise)
                if fixed is not None:
                    value, is_fixed = fixed
                    z = jnp.where(is_fixed, value, z)
                h = stage.update.apply(down_params["update"], h, residual, z)
                return h, Latent(q, p, z)

            up_params = params["encoder"][name] if activations is not None else None
            fixed = None
            if given := zs[first : first + stage.blocks]:
                missing = stage.blocks - len(given)
                padded = jnp.stack([*given, *[jnp.zeros_like(given[0])] * missing])
                fixed = (padded, jnp.arange(stage.blocks) < len(given))
            inputs = (
                stage_params["blocks"],
                up_params,
                first + jnp.arange(stage.blocks),
                temperatures[first : first + stage.blocks],
                fixed,
            )
            if stage.blocks == 1:
                h, node = block(h, jax.tree.map(lambda a: a[0], inputs))
                latents.append(node)
            else:
                body = jax.checkpoint(block) if remat else block
                h, nodes = jax.lax.scan(body, h, inputs)
                latents += [jax.tree.map(lambda a, j=j: a[j], nodes) for j in range(stage.blocks)]
        return tuple(latents), output.apply(params["decoder"]["output"], h)

    def init(key: jax.Array, batch: Batch) -> Params:
        x = event(batch)
        up_key, out_key, key = jax.random.split(key, 3)
        encoder: dict[str, Any] = {"bottom_up": bottom_up.init(up_key, x)}
        decoder: dict[str, Any] = {}
        activations = bottom_up.apply(encoder["bottom_up"], x)
        h = jnp.zeros((x.shape[0], 1))
        for i, (name, stage, dim) in enumerate(zip(names, stages, latent_dims, strict=True)):
            enter_key, *keys = jax.random.split(jax.random.fold_in(key, i), 4)
            enter = stage.enter.init(enter_key, h)
            h = stage.enter.apply(enter, h)

            def per_block(k: jax.Array, net: Network, *inputs: Any, n: int = stage.blocks) -> Any:
                return jax.vmap(lambda k: net.init(k, *inputs))(jax.random.split(k, n))

            prior = per_block(keys[0], stage.prior, h)
            features = stage.prior.apply(jax.tree.map(lambda a: a[0], prior), h)
            residual, z = features[..., 2 * dim :], features[..., :dim]
            encoder[name] = per_block(keys[1], stage.posterior, h, activations[i])
            update = per_block(keys[2], stage.update, h, residual, z)
            decoder[name] = {"enter": enter, "blocks": {"prior": prior, "update": update}}
            h = stage.update.apply(jax.tree.map(lambda a: a[0], update), h, residual, z)
        decoder["output"] = output.init(out_key, h)
        return {"encoder": encoder, "decoder": decoder}

    def infer(
        params: Params, batch: Batch, key: jax.Array | None
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        x = event(batch)
        chex.assert_shape(x, (None, *shape))
        activations = bottom_up.apply(params["encoder"]["bottom_up"], x)
        return top_down(params, x.shape[0], key, activations, (), 1.0)

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        return infer(params, batch, key)[0]

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        latents, features = infer(params, batch, key)
        return make_trace(event(batch), likelihood.apply(features), latents, step)

    def decode(
        params: Params,
        zs: tuple[jax.Array, ...],
        condition: Batch | None = None,
        key: jax.Array | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        del condition
        if not 1 <= len(zs) <= total:
            raise ValueError(
                f"this ladder has {total} latents: decode takes the first 1 to {total} of them, "
                f"found {len(zs)}; generate takes none"
            )
        return likelihood.apply(top_down(params, zs[0].shape[0], key, None, zs, temperature)[1])

    def sample_features(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Batch | None,
        temperature: float | jax.Array,
    ) -> jax.Array:
        del condition
        return top_down(params, n, key, None, (), temperature)[1]

    generate = generate_with(
        sample_features, lambda params, features, condition: likelihood.apply(features)
    )
    return Model(init, forward, encode, decode, generate)

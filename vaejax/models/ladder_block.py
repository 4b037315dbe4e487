"""The blocks of a hierarchical VAE: each has one latent, given h, the activation from above."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Latent, Params
from vaejax.core.types import PyTree
from vaejax.distributions import Normal
from vaejax.latents.bottlenecks import soft_normal
from vaejax.networks import Network

__all__ = ["MERGES", "Block", "BlockInputs", "Stage", "first_values", "init_stage", "run_stage"]


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


class BlockInputs(NamedTuple):
    """What a block receives besides h; for the loop of a stage with a leading axis `[blocks]`.

    Attributes:
      down: parameters of `prior` and `update`.
      up: parameters of `posterior`; None to sample from the priors.
      number: of the block in the whole ladder, int32 `[]`, which determines its random key.
      temperature: of a sample from the prior, `[]`.
      fixed: (z, whether it replaces the sample, bool `[]`), or None.
    """

    down: Params
    up: Params | None
    number: jax.Array
    temperature: jax.Array
    fixed: tuple[jax.Array, jax.Array] | None


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of a stage.

    Attributes:
      stage: its networks.
      dim: channels of z.
      min_scale: lower bound of standard deviations.
      key: of all samples of the ladder; None for means.
      activation: bottom-up; None to sample from the priors.
    """

    stage: Stage
    dim: int
    min_scale: float
    key: jax.Array | None
    activation: PyTree

    def apply(self, h: jax.Array, inputs: BlockInputs) -> tuple[jax.Array, Latent]:
        """`(h of the next block, the node)`."""
        q, p, residual = self.densities(h, inputs)
        z = self.sample(q, inputs)
        if inputs.fixed is not None:
            value, is_fixed = inputs.fixed
            z = jnp.where(is_fixed, value, z)
        h = self.stage.update.apply(inputs.down["update"], h, residual, z)
        return h, Latent(q, p, z)

    def densities(self, h: jax.Array, inputs: BlockInputs) -> tuple[Normal, Normal, jax.Array]:
        """q and p of z, the same without bottom-up activations, and the residual for `update`."""
        features = self.stage.prior.apply(inputs.down["prior"], h)
        split = 2 * self.dim
        prior_features, residual = features[..., :split], features[..., split:]
        p = soft_normal(prior_features, self.min_scale)
        if self.activation is None:
            return p, p, residual
        features = self.stage.posterior.apply(inputs.up, h, self.activation)
        q = MERGES[self.stage.merge](p, soft_normal(features, self.min_scale))
        return q, p, residual

    def sample(self, q: Normal, inputs: BlockInputs) -> jax.Array:
        """A sample from q, at the temperature if q is the prior; the mean without a key."""
        if self.key is None:
            return q.loc
        noise = q.sample(jax.random.fold_in(self.key, inputs.number)) - q.loc
        return q.loc + (noise if self.activation is not None else inputs.temperature * noise)


def run_stage(
    block: Block, h: jax.Array, inputs: BlockInputs, *, remat: bool
) -> tuple[jax.Array, list[Latent]]:
    """`(h after the last block, the nodes)` of a stage, whose blocks run in one loop.

    Args:
      block: what each block computes.
      h: of the first block.
      inputs: of all blocks.
      remat: whether the backward pass recomputes the activations of the loop.
    """
    if block.stage.blocks == 1:
        h, node = block.apply(h, jax.tree.map(lambda a: a[0], inputs))
        return h, [node]
    body = jax.checkpoint(block.apply) if remat else block.apply
    h, nodes = jax.lax.scan(body, h, inputs)
    return h, [jax.tree.map(lambda a, j=j: a[j], nodes) for j in range(block.stage.blocks)]


def first_values(zs: Sequence[jax.Array], blocks: int) -> tuple[jax.Array, jax.Array] | None:
    """`BlockInputs.fixed` of a stage whose first blocks have the values `zs`; None for none."""
    if not zs:
        return None
    missing = blocks - len(zs)
    padded = jnp.stack([*zs, *[jnp.zeros_like(zs[0])] * missing])
    return padded, jnp.arange(blocks) < len(zs)


def init_stage(
    key: jax.Array, stage: Stage, dim: int, h: jax.Array, activation: PyTree
) -> tuple[Params, Params, jax.Array]:
    """Parameters of a stage: of the posteriors `[blocks, ...]`, and of the top-down networks.

    Returns:
      `(posterior, {"enter", "blocks": {"prior", "update"}}, h after one block)`.
    """
    enter_key, *keys = jax.random.split(key, 4)
    enter = stage.enter.init(enter_key, h)
    h = stage.enter.apply(enter, h)

    def per_block(key: jax.Array, network: Network, *inputs: PyTree) -> PyTree:
        keys = jax.random.split(key, stage.blocks)
        return jax.vmap(lambda k: network.init(k, *inputs))(keys)

    prior = per_block(keys[0], stage.prior, h)
    features = stage.prior.apply(jax.tree.map(lambda a: a[0], prior), h)
    residual, z = features[..., 2 * dim :], features[..., :dim]
    posterior = per_block(keys[1], stage.posterior, h, activation)
    update = per_block(keys[2], stage.update, h, residual, z)
    h = stage.update.apply(jax.tree.map(lambda a: a[0], update), h, residual, z)
    return posterior, {"enter": enter, "blocks": {"prior": prior, "update": update}}, h

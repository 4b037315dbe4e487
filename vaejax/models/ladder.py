"""A ladder: features go up, latents come down, each given the ones above it.

LVAE (1602.02282), VDVAE (2011.10650) and NVAE (2007.03898) are this topology with other networks
and another way to join what a level expects with what it sees: their configs differ, not the code.
Blocks of one shape form a stage and run as one loop, so that compile time does not grow with depth.
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
from vaejax.latents.bottlenecks import LOWEST_SCALE, soft_normal
from vaejax.networks import Network, with_constants


def _alone(p: Normal, seen: Normal) -> Normal:
    """What is seen has been told what is expected (VDVAE, 2011.10650, section 3.1)."""
    del p
    return seen


def _precision(p: Normal, seen: Normal) -> Normal:
    """The product of the two densities (LVAE, 1602.02282, eq. 17–18)."""
    a, b = 1.0 / jnp.square(seen.scale), 1.0 / jnp.square(p.scale)
    variance = 1.0 / (a + b)
    return Normal((seen.loc * a + p.loc * b) * variance, jnp.sqrt(variance))


def _residual(p: Normal, seen: Normal) -> Normal:
    """What is seen moves and scales what is expected (NVAE, 2007.03898, section 3.2)."""
    return Normal(p.loc + seen.loc, p.scale * seen.scale)


MERGES: Mapping[str, Callable[[Normal, Normal], Normal]] = {
    "alone": _alone,
    "precision": _precision,
    "residual": _residual,
}


class Stage(NamedTuple):
    """Blocks of one shape, one after the other; each holds one latent.

    Attributes:
      blocks: how many.
      enter: h of the stage above -> h of this one; of the top stage, zeros `[n, 1]` -> h.
      prior: h -> features of p(z | above) and, behind them, what else `step` is to know.
      posterior: (h, activations of this stage) -> features of q, before it is merged.
      step: (h, what else, z) -> h.
      merge: one of `MERGES`.
    """

    blocks: int
    enter: Network
    prior: Network
    posterior: Network
    step: Network
    merge: str = "alone"


def ladder(
    bottom_up: Network,
    stages: Sequence[Stage],
    output: Network,
    likelihood: Likelihood,
    shape: Sequence[int],
    *,
    latent_dims: Sequence[int],
    remat: bool = True,
    lowest_scale: float = LOWEST_SCALE,
) -> Model:
    """Parameter groups `encoder` (bottom-up, posteriors) and `decoder` (all else).

    `decode` takes the z of every block, or of the first k, top-down, only: the others are then
    drawn from their priors with its arguments `key` and `temperature`, or without a key are their
    means. `generate` takes one temperature or one for each block.

    Args:
      bottom_up: event -> activations of each stage, the top first.
      stages: the top first.
      output: h of the last stage -> features for the likelihood.
      likelihood: p(x | z).
      shape: of one event.
      latent_dims: channels of z in each stage.
      remat: whether the activations of blocks in a loop are computed again in the backward pass,
        which saves memory.
      lowest_scale: of any standard deviation of a prior or of what is seen. Where a latent is not
        in use both shrink to it, and the KL then punishes noise of the encoder by its square.

    Raises:
      ValueError: an unknown way to merge, or a lowest scale not between 0 and 1.
    """
    shape, stages = tuple(shape), tuple(stages)
    for stage in stages:
        if stage.merge not in MERGES:
            raise ValueError(f"unknown merge of a ladder {near_names(stage.merge, MERGES)}")
    if not 0 < lowest_scale < 1:
        raise ValueError(f"lowest_scale must be between 0 and 1, found {lowest_scale}")
    if likelihood.constants:
        output = with_constants(output, likelihood.constants)
    names = [f"stage_{i}" for i in range(len(stages))]
    total = sum(stage.blocks for stage in stages)

    def down(
        params: Params,
        n: int,
        key: jax.Array | None,
        seen: tuple[jax.Array, ...] | None,
        zs: tuple[jax.Array, ...],
        temperatures: jax.Array,  # [L], of latents that are drawn from their prior
    ) -> tuple[tuple[Latent, ...], jax.Array]:
        """All nodes, top-down, and the features for the likelihood."""
        latents: list[Latent] = []
        h = jnp.zeros((n, 1))
        for i, (name, stage, dim) in enumerate(zip(names, stages, latent_dims, strict=True)):
            own, first = params["decoder"][name], len(latents)
            h = stage.enter.apply(own["enter"], h)

            def block(
                h: jax.Array,
                inputs: Any,
                stage: Stage = stage,
                dim: int = dim,
                see: Any = seen[i] if seen is not None else None,
            ) -> tuple[jax.Array, Latent]:
                down_params, up_params, number, temperature, given = inputs
                features = stage.prior.apply(down_params["prior"], h)
                of_prior, more = features[..., : 2 * dim], features[..., 2 * dim :]
                p = soft_normal(of_prior, lowest_scale)
                q = p
                if see is not None:
                    features = stage.posterior.apply(up_params, h, see)
                    q = MERGES[stage.merge](p, soft_normal(features, lowest_scale))
                z = q.loc
                if key is not None:
                    noise = q.sample(jax.random.fold_in(key, number)) - q.loc
                    z = z + (noise if see is not None else temperature * noise)
                if given is not None:
                    z_given, known = given
                    z = jnp.where(known, z_given, z)
                return stage.step.apply(down_params["step"], h, more, z), Latent(q, p, z)

            up = params["encoder"][name] if seen is not None else None
            numbers = first + jnp.arange(stage.blocks)
            mine = zs[first : first + stage.blocks]
            given = None
            if mine:
                missing = stage.blocks - len(mine)
                padded = jnp.stack([*mine, *[jnp.zeros_like(mine[0])] * missing])
                given = (padded, jnp.arange(stage.blocks) < len(mine))
            inputs = (own["blocks"], up, numbers, temperatures[first : first + stage.blocks], given)
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
        seen = bottom_up.apply(encoder["bottom_up"], x)
        h = jnp.zeros((x.shape[0], 1))
        for i, (name, stage, dim) in enumerate(zip(names, stages, latent_dims, strict=True)):
            enter_key, *keys = jax.random.split(jax.random.fold_in(key, i), 4)
            enter = stage.enter.init(enter_key, h)
            h = stage.enter.apply(enter, h)

            def several(k: jax.Array, net: Network, *inputs: Any, n: int = stage.blocks) -> Any:
                return jax.vmap(lambda k: net.init(k, *inputs))(jax.random.split(k, n))

            prior = several(keys[0], stage.prior, h)
            features = stage.prior.apply(jax.tree.map(lambda a: a[0], prior), h)
            more, z = features[..., 2 * dim :], features[..., :dim]
            encoder[name] = several(keys[1], stage.posterior, h, seen[i])
            step = several(keys[2], stage.step, h, more, z)
            decoder[name] = {"enter": enter, "blocks": {"prior": prior, "step": step}}
            h = stage.step.apply(jax.tree.map(lambda a: a[0], step), h, more, z)
        decoder["output"] = output.init(out_key, h)
        return {"encoder": encoder, "decoder": decoder}

    def look(params: Params, x: jax.Array) -> tuple[jax.Array, ...]:
        chex.assert_shape(x, (None, *shape))
        return bottom_up.apply(params["encoder"]["bottom_up"], x)

    def inferred(params: Params, batch: Batch, key: jax.Array | None) -> Any:
        x = event(batch)
        return down(params, x.shape[0], key, look(params, x), (), jnp.ones(total))

    def encode(params: Params, batch: Batch, key: jax.Array | None) -> tuple[Latent, ...]:
        return inferred(params, batch, key)[0]

    def forward(params: Params, batch: Batch, key: jax.Array, step: jax.Array | None) -> Trace:
        latents, features = inferred(params, batch, key)
        p = likelihood.apply(features)
        return Trace(event(batch), p, latents, step=0 if step is None else step)

    def decode(
        params: Params,
        zs: tuple[jax.Array, ...],
        condition: Mapping[str, jax.Array] | None = None,
        key: jax.Array | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        del condition
        if not 1 <= len(zs) <= total:
            raise ValueError(
                f"this ladder has {total} latents: decode takes the first 1 to {total} of them, "
                f"found {len(zs)}; generate takes none"
            )
        warmth = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (total,))
        return likelihood.apply(down(params, zs[0].shape[0], key, None, zs, warmth)[1])

    def generate(
        params: Params,
        key: jax.Array,
        n: int,
        condition: Mapping[str, jax.Array] | None = None,
        temperature: float | jax.Array = 1.0,
    ) -> Any:
        del condition
        warmth = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (total,))
        return likelihood.apply(down(params, n, key, None, (), warmth)[1])

    return Model(init, forward, encode, decode, generate)

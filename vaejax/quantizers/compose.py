"""Quantizers composed of quantizers: product and residual quantisation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.registry import is_off, near_names
from vaejax.distributions import OneHotCodes
from vaejax.quantizers.quantizer import ESTIMATORS, Quantizer

__all__ = ["grouped", "residual"]


def grouped(quantizer: Quantizer, groups: int) -> Quantizer:
    """Product quantisation: tokens are split into `groups` pieces, quantised separately.

    Indices `[..., groups, *shape]`, which gives size^groups combinations; each parameter has a
    leading axis `[groups]`.

    Args:
      quantizer: of one piece.
      groups: number G of pieces; tokens have G times the dimensions of a piece.
    """
    if groups < 1:
        raise ValueError(f"grouped needs at least one group, found {groups}")
    dim, z_dim = quantizer.dim * groups, quantizer.z_dim * groups
    shape, params_axis = (groups, *quantizer.shape), 0 if quantizer.has_params else None

    def split(tokens: jax.Array) -> jax.Array:  # [B, T, G · d] -> [G, B, T, d]
        return jnp.moveaxis(tokens.reshape(*tokens.shape[:-1], groups, quantizer.dim), -2, 0)

    def join(z: jax.Array) -> jax.Array:  # [G, ..., d] -> [..., G · d]
        z = jnp.moveaxis(z, 0, -2)
        return z.reshape(*z.shape[:-2], z_dim)

    def init(key: jax.Array, tokens: jax.Array) -> Any:
        return jax.vmap(quantizer.init)(jax.random.split(key, groups), split(tokens))

    def grouped_variant(variant: Quantizer) -> Quantizer:
        def quantize(
            params: Any, tokens: jax.Array, key: jax.Array | None
        ) -> tuple[Any, jax.Array]:
            keys = None if key is None else jax.random.split(key, groups)
            per_group = jax.vmap(variant.quantize, in_axes=(params_axis, 0, 0))
            posterior, z = per_group(params, split(tokens), keys)
            return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), posterior), join(z)

        return Quantizer(
            dim,
            z_dim,
            quantizer.size,
            shape,
            quantizer.has_params,
            init,
            quantize,
            embed,
            stochastic=quantizer.stochastic,
        )

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        axis = indices.ndim - 1 - len(quantizer.shape)
        per_group = jax.vmap(quantizer.embed, in_axes=(params_axis, axis))
        return join(per_group(params, indices))

    def training_variant(step: jax.Array) -> Quantizer:
        assert quantizer.training_variant is not None
        return grouped_variant(quantizer.training_variant(step))

    return grouped_variant(quantizer)._replace(
        training_variant=training_variant if quantizer.training_variant else None
    )


def residual(
    quantizer: Quantizer,
    levels: int,
    *,
    shared: bool = False,
    dropout: float = 0.0,
    shrink: float = 1.0,
    gradient: str = "straight_through",
) -> Quantizer:
    """Residual quantisation: each level quantises the residual of the levels before it.

    SoundStream (2107.03312, section III-C), RQ-VAE (2203.01941, section 3.1). z is the sum of the
    levels' codes. Indices `[..., levels, *shape]`.

    Args:
      quantizer: of one level.
      levels: number Q of levels.
      shared: whether all levels share one codebook (RQ-VAE); otherwise each parameter has a leading
        axis `[levels]`.
      dropout: fraction of the examples of a training batch that keep only the first q levels, q
        uniform in 1 … Q (SoundStream's quantizer dropout), so that few levels suffice for a coarse
        reconstruction; the indices of dropped levels are −1.
      shrink: the input of level i is divided by shrink^i and its codes multiplied by it: for
        lattices, whose codes have a fixed scale (1/4, for example).
      gradient: of z, see `vector`; the gradient estimators of the levels are not used.

    Raises:
      ValueError: an unknown gradient, a setting out of range, or a stochastic quantizer.
    """
    if gradient not in ESTIMATORS:
        raise ValueError(f"unknown gradient of residual {near_names(gradient, ESTIMATORS)}")
    valid_dropout = isinstance(dropout, jax.Array) or 0 <= dropout <= 1
    if levels < 1 or not valid_dropout or shrink <= 0:
        raise ValueError(
            f"residual needs levels ≥ 1, dropout in [0, 1] and shrink > 0, found levels={levels}, "
            f"dropout={dropout}, shrink={shrink}"
        )
    if quantizer.stochastic:
        raise ValueError("residual needs a deterministic quantizer, not one that samples codes")
    sg = jax.lax.stop_gradient
    scales = np.float32(shrink) ** np.arange(levels, dtype=np.float32)
    per_level = quantizer.has_params and not shared

    def init(key: jax.Array, tokens: jax.Array) -> Any:
        if not per_level:
            return quantizer.init(key, tokens)

        def level(carry: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
            key, scale = inputs
            params = quantizer.init(key, carry / scale)
            _, z = quantizer.quantize(params, carry / scale, key)
            return carry - scale * z, params

        keys = jax.random.split(key, levels)
        return jax.lax.scan(level, tokens, (keys, jnp.asarray(scales)))[1]

    def with_dropout(dropout: float) -> Quantizer:
        def quantize(
            params: Any, tokens: jax.Array, key: jax.Array | None
        ) -> tuple[OneHotCodes, jax.Array]:
            keys = None
            if key is not None:
                key, drop_key, count_key = jax.random.split(key, 3)
                keys = jax.random.split(key, levels)
            num_kept = jnp.full(tokens.shape[:1], levels)
            if not is_off(dropout) and key is not None:
                drops = jax.random.bernoulli(drop_key, dropout, num_kept.shape)
                fewer = jax.random.randint(count_key, num_kept.shape, 1, levels + 1)
                num_kept = jnp.where(drops, fewer, num_kept)

            def level(carry: Any, inputs: Any) -> tuple[Any, OneHotCodes]:
                left, total = carry
                number, key, scale, level_params = inputs
                q, z = quantizer.quantize(level_params if per_level else params, left / scale, key)
                kept = number < num_kept  # [B]

                def where_kept(a: jax.Array, b: Any) -> jax.Array:
                    return jnp.where(kept.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

                # The features of a dropped level are its codes, so that its losses are zero.
                q = OneHotCodes(
                    where_kept(q.features, sg(q.codes)),
                    where_kept(q.codes, sg(q.codes)),
                    where_kept(q.indices, -1),
                    q.size,
                )
                z = where_kept(scale * sg(z), 0.0)
                return (left - z, total + z), q

            inputs = jnp.arange(levels), keys, jnp.asarray(scales), params if per_level else None
            (_, total), q = jax.lax.scan(level, (tokens, jnp.zeros_like(tokens)), inputs)
            q = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), q)  # [B, T, Q, ...]
            return q, ESTIMATORS[gradient](tokens, total)

        return quantizer._replace(
            shape=(levels, *quantizer.shape),
            init=init,
            quantize=quantize,
            embed=embed,
            training_variant=None,
        )

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        axis = indices.ndim - 1 - len(quantizer.shape)
        embed_levels = jax.vmap(quantizer.embed, in_axes=(0 if per_level else None, axis))
        return jnp.tensordot(jnp.asarray(scales), embed_levels(params, indices), axes=1)

    return with_dropout(0.0)._replace(
        training_variant=None if is_off(dropout) else (lambda step: with_dropout(dropout))
    )

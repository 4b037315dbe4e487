"""Quantizers made of quantizers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.registry import is_off, near_names
from vaejax.distributions import Codes
from vaejax.quantizers.quantizer import ESTIMATORS, Quantizer


def grouped(quantizer: Quantizer, groups: int) -> Quantizer:
    """Product quantisation: tokens are cut into `groups` pieces, each with codes of its own.

    Indices `[..., groups, *shape]`, so that there are size^groups combinations; each parameter has
    a leading axis `[groups]`.

    Args:
      quantizer: of one piece.
      groups: G; tokens have G times the dimensions of a piece.
    """
    if groups < 1:
        raise ValueError(f"grouped needs at least one group, found {groups}")
    dim, z_dim = quantizer.dim * groups, quantizer.z_dim * groups
    shape, learns = (groups, *quantizer.shape), quantizer.learns

    def pieces(tokens: jax.Array) -> jax.Array:  # [B, T, G · d] -> [G, B, T, d]
        return jnp.moveaxis(tokens.reshape(*tokens.shape[:-1], groups, quantizer.dim), -2, 0)

    def joined(z: jax.Array) -> jax.Array:  # [G, ..., d] -> [..., G · d]
        z = jnp.moveaxis(z, 0, -2)
        return z.reshape(*z.shape[:-2], z_dim)

    def init(key: jax.Array, tokens: jax.Array) -> Any:
        return jax.vmap(quantizer.init)(jax.random.split(key, groups), pieces(tokens))

    def with_(now: Quantizer) -> Quantizer:
        def quantize(
            params: Any, tokens: jax.Array, key: jax.Array | None
        ) -> tuple[Any, jax.Array]:
            keys = None if key is None else jax.random.split(key, groups)
            each = jax.vmap(now.quantize, in_axes=(0 if learns else None, 0, 0))
            posterior, z = each(params, pieces(tokens), keys)
            return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), posterior), joined(z)

        whole = Quantizer(dim, z_dim, quantizer.size, shape, learns, init, quantize, embed)
        return whole._replace(random=quantizer.random)

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        axis = indices.ndim - 1 - len(quantizer.shape)
        each = jax.vmap(quantizer.embed, in_axes=(0 if learns else None, axis))
        return joined(each(params, indices))

    def at(step: jax.Array) -> Quantizer:
        assert quantizer.at is not None
        return with_(quantizer.at(step))

    return with_(quantizer)._replace(at=at if quantizer.at else None)


def residual(
    quantizer: Quantizer,
    levels: int,
    *,
    shared: bool = False,
    dropout: float = 0.0,
    shrink: float = 1.0,
    gradient: str = "straight_through",
) -> Quantizer:
    """Residual quantisation: each level quantises what the levels before it left over.

    SoundStream (2107.03312, section III-C), RQ-VAE (2203.01941, section 3.1). z is the sum of the
    levels' codes. Indices `[..., levels, *shape]`.

    Args:
      quantizer: of one level.
      levels: Q.
      shared: whether one codebook serves all levels (RQ-VAE); otherwise each parameter has a
        leading axis `[levels]`.
      dropout: share of the examples of a training batch that keep only the first q levels, q
        uniform in 1 … Q (SoundStream's quantizer dropout), so that few levels do for a coarse
        picture; the others' indices are −1.
      shrink: level i sees its input divided by shrink^i, and its codes count as much: for lattices,
        which have one size (say 1/4).
      gradient: of z, see `vector`; the levels' own gradients are not used.

    Raises:
      ValueError: an unknown gradient, a setting out of range, or a quantizer of random choice.
    """
    if gradient not in ESTIMATORS:
        raise ValueError(f"unknown gradient of residual {near_names(gradient, ESTIMATORS)}")
    possible = isinstance(dropout, jax.Array) or 0 <= dropout <= 1
    if levels < 1 or not possible or shrink <= 0:
        raise ValueError(
            f"residual needs levels ≥ 1, dropout in [0, 1] and shrink > 0, found levels={levels}, "
            f"dropout={dropout}, shrink={shrink}"
        )
    if quantizer.random:
        raise ValueError("residual needs a quantizer that chooses codes, not one that draws them")
    sg = jax.lax.stop_gradient
    scales = np.float32(shrink) ** np.arange(levels, dtype=np.float32)
    several = quantizer.learns and not shared

    def init(key: jax.Array, tokens: jax.Array) -> Any:
        if not several:
            return quantizer.init(key, tokens)

        def level(left: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
            key, scale = inputs
            params = quantizer.init(key, left / scale)
            _, z = quantizer.quantize(params, left / scale, key)
            return left - scale * z, params

        keys = jax.random.split(key, levels)
        return jax.lax.scan(level, tokens, (keys, jnp.asarray(scales)))[1]

    def with_(dropout: float) -> Quantizer:
        def quantize(
            params: Any, tokens: jax.Array, key: jax.Array | None
        ) -> tuple[Codes, jax.Array]:
            keys = None
            if key is not None:
                key, drop_key, count_key = jax.random.split(key, 3)
                keys = jax.random.split(key, levels)
            kept = jnp.full(tokens.shape[:1], levels)
            if not is_off(dropout) and key is not None:
                few = jax.random.bernoulli(drop_key, dropout, kept.shape)
                kept = jnp.where(
                    few, jax.random.randint(count_key, kept.shape, 1, levels + 1), kept
                )

            def level(carry: Any, inputs: Any) -> tuple[Any, Codes]:
                left, total = carry
                number, key, scale, own = inputs
                q, z = quantizer.quantize(own if several else params, left / scale, key)
                on = number < kept  # [B]

                def where_kept(a: jax.Array, b: Any) -> jax.Array:
                    return jnp.where(on.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

                # A dropped level is no part of any loss: its features are its codes.
                q = Codes(
                    where_kept(q.features, sg(q.codes)),
                    where_kept(q.codes, sg(q.codes)),
                    where_kept(q.indices, -1),
                    q.size,
                )
                z = where_kept(scale * sg(z), 0.0)
                return (left - z, total + z), q

            numbers = jnp.arange(levels)
            own = params if several else None
            start = (tokens, jnp.zeros_like(tokens))
            (_, total), q = jax.lax.scan(level, start, (numbers, keys, jnp.asarray(scales), own))
            q = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), q)  # [B, T, Q, ...]
            return q, ESTIMATORS[gradient](tokens, total)

        return quantizer._replace(
            shape=(levels, *quantizer.shape), init=init, quantize=quantize, embed=embed, at=None
        )

    def embed(params: Any, indices: jax.Array) -> jax.Array:
        axis = indices.ndim - 1 - len(quantizer.shape)
        each = jax.vmap(quantizer.embed, in_axes=(0 if several else None, axis))
        return jnp.tensordot(jnp.asarray(scales), each(params, indices), axes=1)

    whole = with_(0.0)
    return whole._replace(at=None if is_off(dropout) else (lambda step: with_(dropout)))

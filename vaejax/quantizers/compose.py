"""Quantizers composed of quantizers: product and residual quantisation."""

import dataclasses
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.registry import is_off, near_names
from vaejax.core.types import PyTree
from vaejax.distributions import Distribution, OneHotCodes
from vaejax.quantizers.quantizer import ESTIMATORS, Quantizer

__all__ = ["Grouped", "Residual", "grouped", "residual"]


@dataclasses.dataclass(frozen=True)
class Grouped:
    """The functions of the quantizer that `grouped` returns; the attributes are its arguments."""

    quantizer: Quantizer
    groups: int

    def split(self, tokens: jax.Array) -> jax.Array:  # [B, T, G · d] -> [G, B, T, d]
        """The pieces of tokens."""
        shape = (*tokens.shape[:-1], self.groups, self.quantizer.dim)
        return jnp.moveaxis(tokens.reshape(shape), -2, 0)

    def join(self, z: jax.Array) -> jax.Array:  # [G, ..., d] -> [..., G · d]
        """z of the pieces, as one vector."""
        z = jnp.moveaxis(z, 0, -2)
        return z.reshape(*z.shape[:-2], self.groups * self.quantizer.z_dim)

    @property
    def params_axis(self) -> int | None:
        """The axis of the groups in the parameters, if there are any."""
        return 0 if self.quantizer.has_params else None

    def init(self, key: jax.Array, tokens: jax.Array) -> PyTree:
        """Parameters of all groups."""
        keys = jax.random.split(key, self.groups)
        return jax.vmap(self.quantizer.init)(keys, self.split(tokens))

    def quantize(
        self, params: PyTree, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[Distribution, jax.Array]:
        """See `Quantizer`."""
        keys = None if key is None else jax.random.split(key, self.groups)
        per_group = jax.vmap(self.quantizer.quantize, in_axes=(self.params_axis, 0, 0))
        posterior, z = per_group(params, self.split(tokens), keys)
        return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), posterior), self.join(z)

    def embed(self, params: PyTree, indices: jax.Array) -> jax.Array:
        """See `Quantizer`."""
        axis = indices.ndim - 1 - len(self.quantizer.shape)
        per_group = jax.vmap(self.quantizer.embed, in_axes=(self.params_axis, axis))
        return self.join(per_group(params, indices))

    def training_variant(self, step: jax.Array) -> Quantizer:
        """See `Quantizer`."""
        assert self.quantizer.training_variant is not None
        variant = self.quantizer.training_variant(step)
        quantize = Grouped(variant, self.groups).quantize
        return self.build()._replace(quantize=quantize, training_variant=None)

    def build(self) -> Quantizer:
        """The functions as a quantizer."""
        return Quantizer(
            self.quantizer.dim * self.groups,
            self.quantizer.z_dim * self.groups,
            self.quantizer.size,
            (self.groups, *self.quantizer.shape),
            self.quantizer.has_params,
            self.init,
            self.quantize,
            self.embed,
            self.training_variant if self.quantizer.training_variant else None,
            self.quantizer.stochastic,
        )


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
    return Grouped(quantizer, groups).build()


@dataclasses.dataclass(frozen=True)
class Residual:
    """The functions of the quantizer that `residual` returns; the attributes are its arguments."""

    quantizer: Quantizer
    levels: int
    shared: bool
    dropout: float
    shrink: float
    gradient: str

    @property
    def per_level(self) -> bool:
        """Whether the parameters have a leading axis `[levels]`."""
        return self.quantizer.has_params and not self.shared

    @property
    def scales(self) -> np.ndarray:
        """The scale of the codes of each level, `[levels]`."""
        return np.float32(self.shrink) ** np.arange(self.levels, dtype=np.float32)

    def init(self, key: jax.Array, tokens: jax.Array) -> PyTree:
        """Parameters of all levels, each for the residuals of the levels before it."""
        if not self.per_level:
            return self.quantizer.init(key, tokens)

        def level(
            carry: jax.Array, inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, PyTree]:
            key, scale = inputs
            params = self.quantizer.init(key, carry / scale)
            _, z = self.quantizer.quantize(params, carry / scale, key)
            return carry - scale * z, params

        keys = jax.random.split(key, self.levels)
        return jax.lax.scan(level, tokens, (keys, jnp.asarray(self.scales)))[1]

    def num_kept(self, n: int, keys: tuple[jax.Array, jax.Array] | None) -> jax.Array:
        """The number of levels that each of n examples keeps, `[n]`; all without keys."""
        num_kept = jnp.full((n,), self.levels)
        if is_off(self.dropout) or keys is None:
            return num_kept
        drop_key, count_key = keys
        drops = jax.random.bernoulli(drop_key, self.dropout, num_kept.shape)
        fewer = jax.random.randint(count_key, num_kept.shape, 1, self.levels + 1)
        return jnp.where(drops, fewer, num_kept)

    def quantize(
        self, params: PyTree, tokens: jax.Array, key: jax.Array | None
    ) -> tuple[OneHotCodes, jax.Array]:
        """See `Quantizer`."""
        keys, dropout_keys = None, None
        if key is not None:
            key, drop_key, count_key = jax.random.split(key, 3)
            keys, dropout_keys = jax.random.split(key, self.levels), (drop_key, count_key)
        num_kept = self.num_kept(tokens.shape[0], dropout_keys)

        def level(
            carry: tuple[jax.Array, jax.Array], inputs: tuple[PyTree, ...]
        ) -> tuple[tuple[jax.Array, jax.Array], OneHotCodes]:
            left, total = carry
            number, key, scale, level_params = inputs
            params_of_level = level_params if self.per_level else params
            q, z = self.quantizer.quantize(params_of_level, left / scale, key)
            kept = number < num_kept  # [B]
            z = _where(kept, scale * jax.lax.stop_gradient(z), 0.0)
            return (left - z, total + z), _drop_codes(kept, cast(OneHotCodes, q))

        numbers, scales = jnp.arange(self.levels), jnp.asarray(self.scales)
        inputs = numbers, keys, scales, params if self.per_level else None
        (_, total), q = jax.lax.scan(level, (tokens, jnp.zeros_like(tokens)), inputs)
        q = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), q)  # [B, T, Q, ...]
        return q, ESTIMATORS[self.gradient](tokens, total)

    def embed(self, params: PyTree, indices: jax.Array) -> jax.Array:
        """See `Quantizer`."""
        axis = indices.ndim - 1 - len(self.quantizer.shape)
        embed_levels = jax.vmap(self.quantizer.embed, in_axes=(0 if self.per_level else None, axis))
        return jnp.tensordot(jnp.asarray(self.scales), embed_levels(params, indices), axes=1)

    def build(self) -> Quantizer:
        """The functions as a quantizer that drops no levels; `training_variant` drops them."""
        kept = dataclasses.replace(self, dropout=0.0)
        return self.quantizer._replace(
            shape=(self.levels, *self.quantizer.shape),
            init=self.init,
            quantize=kept.quantize,
            embed=self.embed,
            training_variant=None if is_off(self.dropout) else self.training_variant,
        )

    def training_variant(self, step: jax.Array) -> Quantizer:
        """See `Quantizer`; the same at every step."""
        del step
        return self.build()._replace(quantize=self.quantize, training_variant=None)


def _where(kept: jax.Array, a: jax.Array, b: jax.Array | float) -> jax.Array:
    """`a [B, ...]` in the examples with `kept [B]`, else b."""
    return jnp.where(kept.reshape(-1, *(1,) * (a.ndim - 1)), a, b)


def _drop_codes(kept: jax.Array, q: OneHotCodes) -> OneHotCodes:
    """The codes of a level in the examples `kept [B]`; elsewhere their indices are −1."""
    # The features of a dropped level are its codes, so that its losses are zero.
    codes = jax.lax.stop_gradient(q.codes)
    features = _where(kept, q.features, codes)
    return OneHotCodes(features, _where(kept, q.codes, codes), _where(kept, q.indices, -1), q.size)


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
    return Residual(quantizer, levels, shared, dropout, shrink, gradient).build()

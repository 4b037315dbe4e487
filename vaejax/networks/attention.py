"""Causal attention blocks, applied to whole sequences or one position at a time with a cache."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.networks.layers import activation as activation_of
from vaejax.networks.layers import compute_dtype

__all__ = ["CausalBlocks", "causal_blocks", "rotate"]

_EPSILON = 1e-6


class CausalBlocks(NamedTuple):
    """A stack of attention and MLP blocks over a residual stream `[B, T, W]`, with a final norm.

    Attributes:
      init: `key -> params`, with the groups `layers` (stacked) and `norm`.
      apply: `(params, x [B, T, W]) -> [B, T, W]`.
      init_cache: `n -> cache` of the keys and values of `window` positions.
      step: `(params, cache, x [B, W], t) -> ([B, W], cache)` for t = 0, 1, ...
    """

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]
    init_cache: Callable[..., Any]
    step: Callable[..., tuple[jax.Array, Any]]


def _norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """RMSNorm (1910.07467) over the last axis, in float32."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + _EPSILON)
    return (wide * scale.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def rotate(x: jax.Array, positions: jax.Array) -> jax.Array:
    """Rotary position embedding (RoFormer, 2104.09864, eq. 34).

    Elements i and i + d/2 are the coordinates of a point in the plane, which is rotated by the
    angle position · 10000^(−2i/d).

    Args:
      x: queries or keys `[B, H, T, d]`.
      positions: `[T]`.
    """
    half = x.shape[-1] // 2
    frequency = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = (positions.astype(jnp.float32)[:, None] * frequency[None])[None, None]  # [1, 1, T, d/2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)


def causal_blocks(
    width: int,
    *,
    layers: int,
    heads: int,
    expansion: int,
    window: int,
    activation: str = "gelu",
    dtype: str = "float32",
) -> CausalBlocks:
    """Pre-norm transformer blocks with rotary positions and no biases.

    The initial weights of the layers that write to the residual stream are scaled by
    1/√(2 · layers), one over the root of their number (GPT-2). Parameters of the layers are
    stacked, `[layers, ...]`, and the layers run in a scan.

    Args:
      width: W of the residual stream.
      layers: number of blocks of attention and MLP.
      heads: number of attention heads of W / heads dimensions each, an even number.
      expansion: hidden units of the MLP, as a multiple of W.
      window: number of positions that a position attends to: itself and those before it.
      activation: of the MLP.
      dtype: of the computation.

    Raises:
      ValueError: the width cannot be divided into heads of even size, or the window is empty.
    """
    if width % heads or width // heads % 2:
        raise ValueError(
            f"a transformer of width={width} cannot have heads={heads}: width / heads must be an "
            "even number"
        )
    if window < 1:
        raise ValueError(
            f"a transformer needs an attention window of at least 1 position, found {window}"
        )
    act, compute, size = activation_of(activation), compute_dtype(dtype), width // heads

    def init(key: jax.Array) -> Params:
        keys, hidden = jax.random.split(key, 4), expansion * width
        unit_gain, small_gain = 1.0 / math.sqrt(width), 1.0 / math.sqrt(2 * layers)

        def normal(key: jax.Array, *shape: int, std: float) -> jax.Array:
            return std * jax.random.normal(key, (layers, *shape))

        return {
            "layers": {
                "norm_attention": jnp.ones((layers, width)),
                "qkv": normal(keys[0], width, 3 * width, std=unit_gain),
                "out": normal(keys[1], width, width, std=unit_gain * small_gain),
                "norm_mlp": jnp.ones((layers, width)),
                "up": normal(keys[2], width, hidden, std=unit_gain),
                "down": normal(keys[3], hidden, width, std=small_gain / math.sqrt(hidden)),
            },
            "norm": jnp.ones(width),
        }

    def queries_keys_values(
        layer: Params, x: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`[B, H, t, d]` each from x `[B, t, W]`; queries and keys are rotated."""
        h = _norm(x, layer["norm_attention"]) @ layer["qkv"].astype(compute)
        h = h.reshape(*x.shape[:2], 3, heads, size).transpose(2, 0, 3, 1, 4)
        return rotate(h[0], positions), rotate(h[1], positions), h[2]

    def attend_and_mlp(
        layer: Params, x: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array
    ) -> jax.Array:
        """The block's output; queries `[B, H, t, d]` attend to the keys in the mask `[t, T]`."""
        score = jnp.einsum("bhtd,bhsd->bhts", q, k).astype(jnp.float32) / math.sqrt(size)
        weight = jax.nn.softmax(jnp.where(mask[None, None], score, -jnp.inf)).astype(compute)
        attended = jnp.einsum("bhts,bhsd->bthd", weight, v).reshape(x.shape)
        x = x + attended @ layer["out"].astype(compute)
        h = act(_norm(x, layer["norm_mlp"]) @ layer["up"].astype(compute))
        return x + h @ layer["down"].astype(compute)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        positions = jnp.arange(x.shape[1])
        age = positions[:, None] - positions[None]
        mask = (age >= 0) & (age < window)

        def per_layer(x: jax.Array, layer: Params) -> tuple[jax.Array, None]:
            q, k, v = queries_keys_values(layer, x, positions)
            return attend_and_mlp(layer, x, q, k, v, mask), None

        x, _ = jax.lax.scan(per_layer, x.astype(compute), params["layers"])
        return _norm(x, params["norm"])

    def init_cache(n: int) -> Any:
        empty = jnp.zeros((layers, n, heads, window, size), compute)
        return empty, empty

    def step(params: Params, cache: Any, x: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
        # The cache is a ring buffer: slot s holds the last position t' ≡ s (mod window). Keys stay
        # valid in it because only differences of rotary positions enter the scores.
        slots = jnp.arange(window)
        mask = (slots <= t)[None]

        def per_layer(x: jax.Array, inputs: Any) -> tuple[jax.Array, Any]:
            layer, keys, values = inputs  # of this layer, [B, H, window, d]
            q, k, v = queries_keys_values(layer, x, t[None])
            keys = jax.lax.dynamic_update_slice_in_dim(keys, k, t % window, axis=2)
            values = jax.lax.dynamic_update_slice_in_dim(values, v, t % window, axis=2)
            return attend_and_mlp(layer, x, q, keys, values, mask), (keys, values)

        x, cache = jax.lax.scan(per_layer, x.astype(compute)[:, None], (params["layers"], *cache))
        return _norm(x[:, 0], params["norm"]), cache

    return CausalBlocks(init, apply, init_cache, step)

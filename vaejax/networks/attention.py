"""Blocks of causal attention, over whole sequences or one place after the other."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.networks.layers import activation as activation_of
from vaejax.networks.layers import compute_dtype

_EPSILON = 1e-6


class Blocks(NamedTuple):
    """A stack of attention and MLP over a residual stream `[B, T, W]`, normalised at its end.

    Attributes:
      init: `key -> params`, with the groups `layers` (stacked) and `norm`.
      apply: `(params, x [B, T, W]) -> [B, T, W]`.
      start: `n -> cache`, of the keys and values of `window` places.
      step: `(params, cache, x [B, W], t) -> ([B, W], cache)` for t = 0, 1, ...
    """

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]
    start: Callable[..., Any]
    step: Callable[..., tuple[jax.Array, Any]]


def _norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """RMSNorm (1910.07467) over the last axis, in float32."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + _EPSILON)
    return (wide * scale.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def rotate(x: jax.Array, positions: jax.Array) -> jax.Array:
    """Rotary positions (RoFormer, 2104.09864, eq. 34): x `[B, H, T, d]`, positions `[T]`.

    Elements i and i + d/2 are a point of the plane, which is turned by position · 10000^(−2i/d).
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
) -> Blocks:
    """Pre-norm blocks with rotary positions and no biases.

    The layers that write to the residual stream start smaller by 1/√(2 · layers), the number of
    them (GPT-2). Parameters of the layers are stacked, `[layers, ...]`, and run through in a scan.

    Args:
      width: W of the residual stream.
      layers: blocks of attention and MLP.
      heads: of the attention; each has W / heads dimensions, an even number.
      expansion: hidden units of the MLP, in widths.
      window: places that a place sees, itself and those before it.
      activation: of the MLP.
      dtype: in which to compute.

    Raises:
      ValueError: the width cannot be divided into heads of even size, or there is no window.
    """
    if width % heads or width // heads % 2:
        raise ValueError(
            f"a transformer of width={width} cannot have heads={heads}: width / heads must be an "
            "even number"
        )
    if window < 1:
        raise ValueError(f"a transformer sees a window of at least 1 place, found {window}")
    act, compute, size = activation_of(activation), compute_dtype(dtype), width // heads

    def init(key: jax.Array) -> Params:
        keys, hidden = jax.random.split(key, 4), expansion * width
        inner, small = 1.0 / math.sqrt(width), 1.0 / math.sqrt(2 * layers)

        def normal(key: jax.Array, *shape: int, std: float) -> jax.Array:
            return std * jax.random.normal(key, (layers, *shape))

        return {
            "layers": {
                "norm_attention": jnp.ones((layers, width)),
                "qkv": normal(keys[0], width, 3 * width, std=inner),
                "out": normal(keys[1], width, width, std=inner * small),
                "norm_mlp": jnp.ones((layers, width)),
                "up": normal(keys[2], width, hidden, std=inner),
                "down": normal(keys[3], hidden, width, std=small / math.sqrt(hidden)),
            },
            "norm": jnp.ones(width),
        }

    def qkv(layer: Params, x: jax.Array, positions: jax.Array) -> tuple[Any, Any, Any]:
        """Of x `[B, t, W]`: `[B, H, t, d]` each, the first two turned."""
        h = _norm(x, layer["norm_attention"]) @ layer["qkv"].astype(compute)
        h = h.reshape(*x.shape[:2], 3, heads, size).transpose(2, 0, 3, 1, 4)
        return rotate(h[0], positions), rotate(h[1], positions), h[2]

    def block(
        layer: Params, x: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array
    ) -> jax.Array:
        """The rest of a block, where queries `[B, H, t, d]` see keys by the mask `[t, T]`."""
        score = jnp.einsum("bhtd,bhsd->bhts", q, k).astype(jnp.float32) / math.sqrt(size)
        weight = jax.nn.softmax(jnp.where(mask[None, None], score, -jnp.inf)).astype(compute)
        seen = jnp.einsum("bhts,bhsd->bthd", weight, v).reshape(x.shape)
        x = x + seen @ layer["out"].astype(compute)
        h = act(_norm(x, layer["norm_mlp"]) @ layer["up"].astype(compute))
        return x + h @ layer["down"].astype(compute)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        positions = jnp.arange(x.shape[1])
        age = positions[:, None] - positions[None]
        mask = (age >= 0) & (age < window)

        def one(x: jax.Array, layer: Params) -> tuple[jax.Array, None]:
            q, k, v = qkv(layer, x, positions)
            return block(layer, x, q, k, v, mask), None

        x, _ = jax.lax.scan(one, x.astype(compute), params["layers"])
        return _norm(x, params["norm"])

    def start(n: int) -> Any:
        empty = jnp.zeros((layers, n, heads, window, size), compute)
        return empty, empty

    def step(params: Params, cache: Any, x: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
        # The cache is a ring: what stands in slot s was written at the last t' ≡ s. Only the
        # differences of rotary positions count, so keys stay as they were written.
        place = jnp.arange(window)
        mask = (place <= t)[None]

        def one(x: jax.Array, inputs: Any) -> tuple[jax.Array, Any]:
            layer, keys, values = inputs  # of this layer, [B, H, window, d]
            q, k, v = qkv(layer, x, t[None])
            keys = jax.lax.dynamic_update_slice_in_dim(keys, k, t % window, axis=2)
            values = jax.lax.dynamic_update_slice_in_dim(values, v, t % window, axis=2)
            return block(layer, x, q, keys, values, mask), (keys, values)

        x, cache = jax.lax.scan(one, x.astype(compute)[:, None], (params["layers"], *cache))
        return _norm(x[:, 0], params["norm"]), cache

    return Blocks(init, apply, start, step)

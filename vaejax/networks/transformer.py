"""A causal transformer over tokens, with a key–value cache for drawing them one by one."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.game import Params
from vaejax.layout import Layout
from vaejax.networks.layers import activation as activation_of
from vaejax.networks.layers import compute_dtype
from vaejax.networks.sequence import Autoregressive

_EPSILON = 1e-6


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


def transformer(
    layout: Layout,
    *,
    layers: int = 4,
    width: int = 128,
    heads: int = 4,
    expansion: int = 4,
    activation: str = "gelu",
    dtype: str = "float32",
) -> Autoregressive:
    """A decoder-only transformer with pre-norm, rotary positions and no biases.

    The layers that write to the residual stream start smaller by 1/√(2 · layers), the number of
    them (GPT-2). What stands at a place (which node, and which of the trailing axes' codes) has an
    embedding of its own, and tables of its own for the codes on their way in and out. A condition
    `[B, C]` is mapped to the width and added at every place.

    Parameters: those of the layers are stacked, `[layers, ...]`, and run through in a scan.

    Args:
      layout: of the tokens.
      layers: blocks of attention and MLP.
      width: W of the residual stream.
      heads: of the attention; each has W / heads dimensions, an even number.
      expansion: hidden units of the MLP, in widths.
      activation: of the MLP.
      dtype: in which to compute.

    Raises:
      ValueError: the width cannot be divided into heads of even size.
    """
    if width % heads or width // heads % 2:
        raise ValueError(
            f"a transformer of width={width} cannot have heads={heads}: width / heads must be an "
            "even number"
        )
    act, compute = activation_of(activation), compute_dtype(dtype)
    length, vocabulary = layout.length, layout.vocabulary
    kinds, allowed = layout.kinds(), layout.allowed()  # [T], [kinds, K]
    count = len(allowed)
    size = width // heads

    def init(key: jax.Array, tokens: jax.Array, condition: jax.Array | None = None) -> Params:
        del tokens
        keys = jax.random.split(key, 8)

        def normal(key: jax.Array, *shape: int, std: float) -> jax.Array:
            return std * jax.random.normal(key, shape)

        inner = 1.0 / math.sqrt(width)
        small = 1.0 / math.sqrt(2 * layers)
        hidden = expansion * width
        params = {
            "tokens": normal(keys[0], count * vocabulary, width, std=0.5),
            "start": jnp.zeros(width),
            "kinds": normal(keys[1], count, width, std=0.5),
            "layers": {
                "norm_attention": jnp.ones((layers, width)),
                "qkv": normal(keys[2], layers, width, 3 * width, std=inner),
                "out": normal(keys[3], layers, width, width, std=inner * small),
                "norm_mlp": jnp.ones((layers, width)),
                "up": normal(keys[4], layers, width, hidden, std=inner),
                "down": normal(keys[5], layers, hidden, width, std=small / math.sqrt(hidden)),
            },
            "norm": jnp.ones(width),
            "logits": normal(keys[6], count, vocabulary, width, std=0.1 * inner),
        }
        if condition is not None:
            params["condition"] = normal(keys[7], condition.shape[-1], width, std=0.5)
        return params

    def given(params: Params, n: int, condition: jax.Array | None) -> jax.Array:  # [B, W]
        if condition is None:
            return jnp.zeros((n, width), compute)
        return (condition @ params["condition"]).astype(compute)

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

    def apply(params: Params, tokens: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        n = tokens.shape[0]
        rows = jnp.asarray(kinds * vocabulary)[None] + tokens  # [B, T]
        before = params["tokens"][rows[:, :-1]]
        first = jnp.broadcast_to(params["start"][None, None], (n, 1, width))
        x = jnp.concatenate([first, before], axis=1) + params["kinds"][kinds][None]
        x = x.astype(compute) + given(params, n, condition)[:, None]
        positions = jnp.arange(length)
        mask = positions[:, None] >= positions[None]

        def one(x: jax.Array, layer: Params) -> tuple[jax.Array, None]:
            q, k, v = qkv(layer, x, positions)
            return block(layer, x, q, k, v, mask), None

        x, _ = jax.lax.scan(one, x, params["layers"])
        x = _norm(x, params["norm"])
        out, parts, start, kind = params["logits"].astype(compute), [], 0, 0
        for node in layout.nodes:
            h = x[:, start : start + node.length].reshape(n, -1, node.kinds, width)
            part = jnp.einsum("bsqw,qkw->bsqk", h, out[kind : kind + node.kinds])
            parts.append(part.reshape(n, node.length, vocabulary))
            start, kind = start + node.length, kind + node.kinds
        logits = jnp.concatenate(parts, axis=1).astype(jnp.float32)
        return jnp.where(jnp.asarray(allowed)[kinds][None], logits, -jnp.inf)

    def start(params: Params, n: int, condition: jax.Array | None = None) -> Any:
        empty = jnp.zeros((layers, n, heads, length, size), compute)
        return empty, empty, given(params, n, condition)

    def step(params: Params, cache: Any, token: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
        keys, values, c = cache
        kind = jnp.asarray(kinds)[t]
        row = jnp.asarray(kinds)[jnp.maximum(t - 1, 0)] * vocabulary + token  # [B]
        before = jnp.where(t > 0, params["tokens"][row], params["start"][None])
        x = ((before + params["kinds"][kind][None]).astype(compute) + c)[:, None]  # [B, 1, W]
        mask = (jnp.arange(length) <= t)[None]

        def one(x: jax.Array, inputs: Any) -> tuple[jax.Array, Any]:
            layer, keys, values = inputs  # of this layer, [B, H, T, d]
            q, k, v = qkv(layer, x, t[None])
            keys = jax.lax.dynamic_update_slice_in_dim(keys, k, t, axis=2)
            values = jax.lax.dynamic_update_slice_in_dim(values, v, t, axis=2)
            return block(layer, x, q, keys, values, mask), (keys, values)

        x, (keys, values) = jax.lax.scan(one, x, (params["layers"], keys, values))
        x = _norm(x[:, 0], params["norm"])
        logits = (x @ params["logits"][kind].astype(compute).T).astype(jnp.float32)
        logits = jnp.where(jnp.asarray(allowed)[kind][None], logits, -jnp.inf)
        return logits, (keys, values, c)

    return Autoregressive(init, apply, start, step)

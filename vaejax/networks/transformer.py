"""A causal transformer over tokens, with a key–value cache for drawing them one by one."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.networks.attention import causal_blocks
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.layers import compute_dtype
from vaejax.quantizers.token_layout import Layout


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

    See `attention.causal_blocks`. What stands at a place (which node, and which of the trailing
    axes' codes) has an embedding of its own, and tables of its own for the codes on their way in
    and out. A condition `[B, C]` is mapped to the width and added at every place.

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
    blocks = causal_blocks(
        width, layers=layers, heads=heads, expansion=expansion, window=layout.length,
        activation=activation, dtype=dtype,
    )  # fmt: skip
    compute = compute_dtype(dtype)
    vocabulary = layout.vocabulary
    kinds, allowed = layout.kinds(), layout.allowed()  # [T], [kinds, K]
    count = len(allowed)

    def init(key: jax.Array, tokens: jax.Array, condition: jax.Array | None = None) -> Params:
        del tokens
        keys = jax.random.split(key, 5)

        def normal(key: jax.Array, *shape: int, std: float) -> jax.Array:
            return std * jax.random.normal(key, shape)

        params = {
            "tokens": normal(keys[0], count * vocabulary, width, std=0.5),
            "start": jnp.zeros(width),
            "kinds": normal(keys[1], count, width, std=0.5),
            **blocks.init(keys[2]),
            "logits": normal(keys[3], count, vocabulary, width, std=0.1 / math.sqrt(width)),
        }
        if condition is not None:
            params["condition"] = normal(keys[4], condition.shape[-1], width, std=0.5)
        return params

    def given(params: Params, n: int, condition: jax.Array | None) -> jax.Array:  # [B, W]
        if condition is None:
            return jnp.zeros((n, width), compute)
        return (condition @ params["condition"]).astype(compute)

    def apply(params: Params, tokens: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        n = tokens.shape[0]
        rows = jnp.asarray(kinds * vocabulary)[None] + tokens  # [B, T]
        before = params["tokens"][rows[:, :-1]]
        first = jnp.broadcast_to(params["start"][None, None], (n, 1, width))
        x = jnp.concatenate([first, before], axis=1) + params["kinds"][kinds][None]
        x = x.astype(compute) + given(params, n, condition)[:, None]
        x = blocks.apply(params, x)
        out, parts, start, kind = params["logits"].astype(compute), [], 0, 0
        for node in layout.nodes:
            h = x[:, start : start + node.length].reshape(n, -1, node.kinds, width)
            part = jnp.einsum("bsqw,qkw->bsqk", h, out[kind : kind + node.kinds])
            parts.append(part.reshape(n, node.length, vocabulary))
            start, kind = start + node.length, kind + node.kinds
        logits = jnp.concatenate(parts, axis=1).astype(jnp.float32)
        return jnp.where(jnp.asarray(allowed)[kinds][None], logits, -jnp.inf)

    def start(params: Params, n: int, condition: jax.Array | None = None) -> Any:
        return blocks.start(n), given(params, n, condition)

    def step(params: Params, cache: Any, token: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
        cache, c = cache
        kind = jnp.asarray(kinds)[t]
        row = jnp.asarray(kinds)[jnp.maximum(t - 1, 0)] * vocabulary + token  # [B]
        before = jnp.where(t > 0, params["tokens"][row], params["start"][None])
        x = (before + params["kinds"][kind][None]).astype(compute) + c  # [B, W]
        x, cache = blocks.step(params, cache, x, t)
        logits = (x @ params["logits"][kind].astype(compute).T).astype(jnp.float32)
        logits = jnp.where(jnp.asarray(allowed)[kind][None], logits, -jnp.inf)
        return logits, (cache, c)

    return Autoregressive(init, apply, start, step)

"""A causal transformer over tokens, with a key–value cache for sampling token by token."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.token_layout import Layout
from vaejax.networks.attention import causal_blocks
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.layers import compute_dtype

__all__ = ["transformer"]


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

    See `attention.causal_blocks`. Each kind of code (a node, and an index along its trailing axes)
    has its own kind embedding, token embeddings and output projection. A condition `[B, C]` is
    projected to the width and added at every position.

    Args:
      layout: of the tokens.
      layers: number of blocks of attention and MLP.
      width: W of the residual stream.
      heads: number of attention heads of W / heads dimensions each, an even number.
      expansion: hidden units of the MLP, as a multiple of W.
      activation: of the MLP.
      dtype: of the computation.

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
    num_kinds = len(allowed)

    def init(key: jax.Array, tokens: jax.Array, condition: jax.Array | None = None) -> Params:
        del tokens
        keys = jax.random.split(key, 5)

        def normal(key: jax.Array, *shape: int, std: float) -> jax.Array:
            return std * jax.random.normal(key, shape)

        params = {
            "tokens": normal(keys[0], num_kinds * vocabulary, width, std=0.5),
            "start": jnp.zeros(width),
            "kinds": normal(keys[1], num_kinds, width, std=0.5),
            **blocks.init(keys[2]),
            "logits": normal(keys[3], num_kinds, vocabulary, width, std=0.1 / math.sqrt(width)),
        }
        if condition is not None:
            params["condition"] = normal(keys[4], condition.shape[-1], width, std=0.5)
        return params

    def embed_condition(params: Params, n: int, condition: jax.Array | None) -> jax.Array:  # [B, W]
        if condition is None:
            return jnp.zeros((n, width), compute)
        return (condition @ params["condition"]).astype(compute)

    def apply(params: Params, tokens: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        n = tokens.shape[0]
        rows = jnp.asarray(kinds * vocabulary)[None] + tokens  # [B, T]
        previous = params["tokens"][rows[:, :-1]]
        first = jnp.broadcast_to(params["start"][None, None], (n, 1, width))
        x = jnp.concatenate([first, previous], axis=1) + params["kinds"][kinds][None]
        x = x.astype(compute) + embed_condition(params, n, condition)[:, None]
        x = blocks.apply(params, x)
        projections, parts = params["logits"].astype(compute), []
        start, kind = 0, 0
        for node in layout.nodes:
            h = x[:, start : start + node.length].reshape(n, -1, node.kinds, width)
            part = jnp.einsum("bsqw,qkw->bsqk", h, projections[kind : kind + node.kinds])
            parts.append(part.reshape(n, node.length, vocabulary))
            start, kind = start + node.length, kind + node.kinds
        logits = jnp.concatenate(parts, axis=1).astype(jnp.float32)
        return jnp.where(jnp.asarray(allowed)[kinds][None], logits, -jnp.inf)

    def init_cache(params: Params, n: int, condition: jax.Array | None = None) -> Any:
        return blocks.init_cache(n), embed_condition(params, n, condition)

    def step(params: Params, cache: Any, token: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
        cache, c = cache
        kind = jnp.asarray(kinds)[t]
        row = jnp.asarray(kinds)[jnp.maximum(t - 1, 0)] * vocabulary + token  # [B]
        previous = jnp.where(t > 0, params["tokens"][row], params["start"][None])
        x = (previous + params["kinds"][kind][None]).astype(compute) + c  # [B, W]
        x, cache = blocks.step(params, cache, x, t)
        logits = (x @ params["logits"][kind].astype(compute).T).astype(jnp.float32)
        logits = jnp.where(jnp.asarray(allowed)[kind][None], logits, -jnp.inf)
        return logits, (cache, c)

    return Autoregressive(init, apply, init_cache, step)

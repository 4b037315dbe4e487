"""A causal transformer over tokens, with a key–value cache for sampling token by token."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.token_layout import Layout
from vaejax.networks.attention import Cache, CausalBlocks, causal_blocks
from vaejax.networks.autoregressive_types import Autoregressive
from vaejax.networks.layers import compute_dtype

__all__ = ["TokenTransformer", "transformer"]


_State = tuple[Cache, jax.Array]  # of sampling: the blocks' cache, and the condition [B, W]


@dataclasses.dataclass(frozen=True)
class TokenTransformer:
    """The functions of the network that `transformer` returns.

    Attributes:
      blocks: over the residual stream.
      layout: of the tokens.
    """

    blocks: CausalBlocks
    layout: Layout

    @property
    def dtype(self) -> np.dtype:
        """Of the computation."""
        return np.dtype(compute_dtype(self.blocks.dtype))

    def init(self, key: jax.Array, tokens: jax.Array, condition: jax.Array | None = None) -> Params:
        """See `Autoregressive`."""
        del tokens
        keys, width, vocabulary = (
            jax.random.split(key, 5),
            self.blocks.width,
            self.layout.vocabulary,
        )
        num_kinds = len(self.layout.allowed())

        def normal(key: jax.Array, *shape: int, std: float) -> jax.Array:
            return std * jax.random.normal(key, shape)

        params = {
            "tokens": normal(keys[0], num_kinds * vocabulary, width, std=0.5),
            "start": jnp.zeros(width),
            "kinds": normal(keys[1], num_kinds, width, std=0.5),
            **self.blocks.init(keys[2]),
            "logits": normal(keys[3], num_kinds, vocabulary, width, std=0.1 / math.sqrt(width)),
        }
        if condition is not None:
            params["condition"] = normal(keys[4], condition.shape[-1], width, std=0.5)
        return params

    def embed_condition(
        self, params: Params, n: int, condition: jax.Array | None
    ) -> jax.Array:  # [B, W]
        """The condition's projection, zeros without one."""
        if condition is None:
            return jnp.zeros((n, self.blocks.width), self.dtype)
        return (condition @ params["condition"]).astype(self.dtype)

    def apply(
        self, params: Params, tokens: jax.Array, condition: jax.Array | None = None
    ) -> jax.Array:
        """See `Autoregressive`."""
        return self.masked(params, None, tokens, condition)

    def masked(
        self,
        params: Params,
        mask: jax.Array | None,
        tokens: jax.Array,
        condition: jax.Array | None = None,
    ) -> jax.Array:
        """See `Autoregressive`; a token is the input of the position after it."""
        if mask is not None:
            first = jnp.ones_like(mask[:, :1])
            mask = jnp.concatenate([first, mask[:, :-1]], axis=1)
        n, kinds = tokens.shape[0], self.layout.kinds()
        rows = jnp.asarray(kinds * self.layout.vocabulary)[None] + tokens  # [B, T]
        previous = params["tokens"][rows[:, :-1]]
        first = jnp.broadcast_to(params["start"][None, None], (n, 1, self.blocks.width))
        x = jnp.concatenate([first, previous], axis=1) + params["kinds"][kinds][None]
        x = x.astype(self.dtype) + self.embed_condition(params, n, condition)[:, None]
        logits = self.project(
            params["logits"].astype(self.dtype), self.blocks.apply(params, x, mask)
        )
        return jnp.where(jnp.asarray(self.layout.allowed())[kinds][None], logits, -jnp.inf)

    def project(self, projections: jax.Array, x: jax.Array) -> jax.Array:
        """Logits `[B, T, K]` of the stream `[B, T, W]`; each kind has a projection `[K, W]`."""
        n, width = x.shape[0], x.shape[2]
        parts, start, kind = [], 0, 0
        for node in self.layout.nodes:
            h = x[:, start : start + node.length].reshape(n, -1, node.kinds, width)
            part = jnp.einsum("bsqw,qkw->bsqk", h, projections[kind : kind + node.kinds])
            parts.append(part.reshape(n, node.length, self.layout.vocabulary))
            start, kind = start + node.length, kind + node.kinds
        return jnp.concatenate(parts, axis=1).astype(jnp.float32)

    def init_cache(self, params: Params, n: int, condition: jax.Array | None = None) -> _State:
        """See `Autoregressive`."""
        return self.blocks.init_cache(n), self.embed_condition(params, n, condition)

    def step(
        self, params: Params, cache: _State, token: jax.Array, t: jax.Array
    ) -> tuple[jax.Array, _State]:
        """See `Autoregressive`."""
        keys_and_values, c = cache
        kinds = jnp.asarray(self.layout.kinds())
        kind = kinds[t]
        row = kinds[jnp.maximum(t - 1, 0)] * self.layout.vocabulary + token  # [B]
        previous = jnp.where(t > 0, params["tokens"][row], params["start"][None])
        x = (previous + params["kinds"][kind][None]).astype(self.dtype) + c  # [B, W]
        x, keys_and_values = self.blocks.step(params, keys_and_values, x, t)
        logits = (x @ params["logits"][kind].astype(self.dtype).T).astype(jnp.float32)
        logits = jnp.where(jnp.asarray(self.layout.allowed())[kind][None], logits, -jnp.inf)
        return logits, (keys_and_values, c)


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
    network = TokenTransformer(blocks, layout)
    functions = (network.init, network.apply, network.init_cache, network.step)
    return Autoregressive(*functions, network.masked)

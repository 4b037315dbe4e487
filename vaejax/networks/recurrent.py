"""Networks that read a sequence forwards: what they know at each time, from all up to it."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.registry import make
from vaejax.networks.attention import causal_blocks


class Recurrent(NamedTuple):
    """What is known after each input, as a whole sequence or as a stream.

    Attributes:
      init: `(key, x [B, T, F]) -> params`.
      apply: `(params, x [B, T, F]) -> [B, T, D]`, of each time from the inputs up to it alone.
      start: `(params, n) -> state`, before any input.
      step: `(params, state, x [B, F]) -> ([B, D], state)`; called for one input after the other it
        gives what `apply` gives.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    start: Callable[..., Any]
    step: Callable[..., Any]


def _gated(size: int, gates: int, advance: Callable[..., tuple[jax.Array, Any]], bias: Any) -> Any:
    """A recurrent network whose gates are linear in the input and in what it gave before.

    The inputs of all times go through one product, before the loop.
    """

    def init(key: jax.Array, x: jax.Array) -> Params:
        up_key, own_key = jax.random.split(key)
        width = x.shape[-1]
        own = jax.nn.initializers.orthogonal()
        keys = jax.random.split(own_key, gates)
        return {
            "input": jax.random.normal(up_key, (width, gates * size)) / math.sqrt(width),
            "own": jnp.concatenate([own(k, (size, size)) for k in keys], axis=1),
            "bias": bias,
        }

    def start(params: Params, n: int) -> Any:
        del params
        return jnp.zeros((n, size)), jnp.zeros((n, size))

    def from_input(params: Params, x: jax.Array) -> jax.Array:
        return x @ params["input"] + params["bias"].reshape((1,) * (x.ndim - 1) + (-1,))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        given = jnp.swapaxes(from_input(params, x), 0, 1)  # [T, B, G·D]

        def body(state: Any, now: jax.Array) -> tuple[Any, jax.Array]:
            out, state = advance(params["own"], state, now)
            return state, out

        return jnp.swapaxes(jax.lax.scan(body, start(params, x.shape[0]), given)[1], 0, 1)

    def step(params: Params, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        return advance(params["own"], state, from_input(params, x))

    return Recurrent(init, apply, start, step)


def lstm(size: int = 50) -> Recurrent:
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with Gers's forget gate).

    Args:
      size: of what it gives.
    """

    def advance(own: jax.Array, state: Any, given: jax.Array) -> tuple[jax.Array, Any]:
        hidden, cell = state
        i, f, g, o = jnp.split(given + hidden @ own, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return hidden, (hidden, cell)

    # Forget gates begin open (Jozefowicz et al. 2015).
    return _gated(size, 4, advance, jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), size))


def gru(size: int = 50) -> Recurrent:
    """Gated recurrent units (1406.1078), the reset gate before the product.

    Args:
      size: of what it gives.
    """

    def advance(own: jax.Array, state: Any, given: jax.Array) -> tuple[jax.Array, Any]:
        hidden, unused = state
        split = 2 * size
        r, u = jnp.split(
            jax.nn.sigmoid(given[:, :split] + hidden @ own[:, :split]), 2, axis=-1
        )  # fmt: skip
        new = jnp.tanh(given[:, split:] + (r * hidden) @ own[:, split:])
        hidden = u * hidden + (1.0 - u) * new
        return hidden, (hidden, unused)

    return _gated(size, 3, advance, jnp.zeros(3 * size))


def causal_transformer(
    size: int = 64,
    *,
    layers: int = 2,
    heads: int = 4,
    expansion: int = 4,
    window: int = 32,
    activation: str = "gelu",
    dtype: str = "float32",
) -> Recurrent:
    """A transformer that sees the last inputs, `window` of them at each of its layers.

    As a stream it keeps the keys and values of that many inputs, however long the stream.

    Args:
      size: of what it gives, and of its residual stream.
      layers: blocks of attention and MLP.
      heads: of the attention; each has size / heads dimensions, an even number.
      expansion: hidden units of the MLP, in sizes.
      window: inputs that a layer sees, the present one among them.
      activation: of the MLP.
      dtype: in which to compute.

    Raises:
      ValueError: the size cannot be divided into heads of even size, or there is no window.
    """
    blocks = causal_blocks(
        size, layers=layers, heads=heads, expansion=expansion, window=window,
        activation=activation, dtype=dtype,
    )  # fmt: skip

    def init(key: jax.Array, x: jax.Array) -> Params:
        up_key, key = jax.random.split(key)
        up = jax.random.normal(up_key, (x.shape[-1], size)) / math.sqrt(x.shape[-1])
        return {"input": up, **blocks.init(key)}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return blocks.apply(params, x @ params["input"]).astype(jnp.float32)

    def start(params: Params, n: int) -> Any:
        del params
        return blocks.start(n), jnp.zeros((), jnp.int32)

    def step(params: Params, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        cache, t = state
        out, cache = blocks.step(params, cache, x @ params["input"], t)
        return out.astype(jnp.float32), (cache, t + 1)

    return Recurrent(init, apply, start, step)


RECURRENT: dict[str, Callable[..., Recurrent]] = {
    "gru": gru,
    "lstm": lstm,
    "transformer": causal_transformer,
}


def build_recurrent(setting: str | Mapping[str, Any] | Recurrent) -> Recurrent:
    """One by its name, by `{"kind": name, **arguments}`, or as it is given.

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    if isinstance(setting, Recurrent):
        return setting
    return make(RECURRENT, setting, "recurrent network")

"""Recurrent and causal networks over sequences, applied at once or one input at a time."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.registry import make
from vaejax.core.types import Options, PyTree
from vaejax.networks.attention import Cache, causal_blocks

__all__ = ["RECURRENT", "Recurrent", "build_recurrent", "causal_transformer", "gru", "lstm"]


class Recurrent(NamedTuple):
    """A network whose output at each time depends on the inputs up to that time only.

    Attributes:
      init: `(key, x [B, T, F]) -> params`.
      apply: `(params, x [B, T, F], mask=None) -> [B, T, D]`. Inputs that are not in the mask, bool
        `[B, T]`, have no effect; the state and the output of a recurrent network stay as they are.
      initial_state: `(params, n) -> state` before the first input.
      step: `(params, state, x [B, F]) -> ([B, D], state)`; calls for one input after the other
        return the outputs that `apply` returns.
    """

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]
    initial_state: Callable[..., PyTree]
    step: Callable[..., tuple[jax.Array, PyTree]]


_State = tuple[jax.Array, jax.Array]  # the output and the memory cell, [B, D] each
_TransformerState = tuple[Cache, jax.Array]  # and the time


# Not Flax's cells: the parameters of stored runs have the names and layout below, and Flax's,
# with a matrix per gate, would need a translation longer than a cell; its GRU is another
# function, which resets after the matrix product. On these parameters its LSTM gives the same
# values within 3e-7. The gradient for inputs [64, 20, 50] and D = 50 on two CPU cores takes 3.5
# ms here and 2.8 ms there, since it projects the inputs inside the loop; that is one more matrix
# product per time step, which accelerators have to launch.
def _gated_cell(
    size: int, gates: int, advance: Callable[..., tuple[jax.Array, _State]], bias: np.ndarray
) -> Recurrent:
    """A recurrent network whose gates are linear in the input and in the previous output.

    The inputs of all times are projected in one matrix product before the loop.

    Args:
      size: D of the output.
      gates: number of gates, G.
      advance: `(recurrent [D, G · D], state, projected input [B, G · D]) -> (output, state)`.
      bias: initial bias `[G · D]`.
    """

    def init(key: jax.Array, x: jax.Array) -> Params:
        input_key, recurrent_key = jax.random.split(key)
        width = x.shape[-1]
        orthogonal = jax.nn.initializers.orthogonal()
        keys = jax.random.split(recurrent_key, gates)
        return {
            "input": jax.random.normal(input_key, (width, gates * size)) / math.sqrt(width),
            "recurrent": jnp.concatenate([orthogonal(k, (size, size)) for k in keys], axis=1),
            "bias": jnp.asarray(bias),
        }

    def initial_state(params: Params, n: int) -> _State:
        del params
        return jnp.zeros((n, size)), jnp.zeros((n, size))

    def project(params: Params, x: jax.Array) -> jax.Array:
        return x @ params["input"] + params["bias"].reshape((1,) * (x.ndim - 1) + (-1,))

    def apply(params: Params, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        projected = jnp.swapaxes(project(params, x), 0, 1)  # [T, B, G·D]

        def body(
            state: _State, inputs: tuple[jax.Array, jax.Array | None]
        ) -> tuple[_State, jax.Array]:
            projected, present = inputs
            out, after = advance(params["recurrent"], state, projected)
            if present is None:
                return after, out
            after = jax.tree.map(lambda a, b: jnp.where(present[:, None], a, b), after, state)
            return after, after[0]

        first = initial_state(params, x.shape[0])
        inputs = projected, None if mask is None else mask.T
        return jnp.swapaxes(jax.lax.scan(body, first, inputs)[1], 0, 1)

    def step(params: Params, state: _State, x: jax.Array) -> tuple[jax.Array, _State]:
        return advance(params["recurrent"], state, project(params, x))

    return Recurrent(init, apply, initial_state, step)


def lstm(size: int = 50) -> Recurrent:
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with Gers's forget gate).

    Args:
      size: D of the output.
    """

    def advance(recurrent: jax.Array, state: _State, inputs: jax.Array) -> tuple[jax.Array, _State]:
        hidden, cell = state
        i, f, g, o = jnp.split(inputs + hidden @ recurrent, 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return hidden, (hidden, cell)

    # Forget gates start open (Jozefowicz et al. 2015).
    return _gated_cell(size, 4, advance, np.repeat(np.array([0, 1, 0, 0], np.float32), size))


def gru(size: int = 50) -> Recurrent:
    """Gated recurrent units (1406.1078), with the reset gate before the matrix product.

    Args:
      size: D of the output.
    """

    def advance(recurrent: jax.Array, state: _State, inputs: jax.Array) -> tuple[jax.Array, _State]:
        hidden, unused = state
        split = 2 * size
        r, u = jnp.split(
            jax.nn.sigmoid(inputs[:, :split] + hidden @ recurrent[:, :split]), 2, axis=-1
        )  # fmt: skip
        candidate = jnp.tanh(inputs[:, split:] + (r * hidden) @ recurrent[:, split:])
        hidden = u * hidden + (1.0 - u) * candidate
        return hidden, (hidden, unused)

    return _gated_cell(size, 3, advance, np.zeros(3 * size, np.float32))


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
    """A transformer each of whose layers attends to the last `window` inputs.

    Its state holds the keys and values of that many inputs, whatever the length of the sequence.

    Args:
      size: D of the output, and the width of the residual stream.
      layers: number of blocks of attention and MLP.
      heads: number of attention heads of D / heads dimensions each, an even number.
      expansion: hidden units of the MLP, as a multiple of D.
      window: number of inputs that a layer attends to, including the current one.
      activation: of the MLP.
      dtype: of the computation.

    Raises:
      ValueError: the size cannot be divided into heads of even size, or the window is empty.
    """
    blocks = causal_blocks(
        size, layers=layers, heads=heads, expansion=expansion, window=window,
        activation=activation, dtype=dtype,
    )  # fmt: skip

    def init(key: jax.Array, x: jax.Array) -> Params:
        input_key, key = jax.random.split(key)
        projection = jax.random.normal(input_key, (x.shape[-1], size)) / math.sqrt(x.shape[-1])
        return {"input": projection, **blocks.init(key)}

    def apply(params: Params, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        return blocks.apply(params, x @ params["input"], mask).astype(jnp.float32)

    def initial_state(params: Params, n: int) -> _TransformerState:
        del params
        return blocks.init_cache(n), jnp.zeros((), jnp.int32)

    def step(
        params: Params, state: _TransformerState, x: jax.Array
    ) -> tuple[jax.Array, _TransformerState]:
        cache, t = state
        out, cache = blocks.step(params, cache, x @ params["input"], t)
        return out.astype(jnp.float32), (cache, t + 1)

    return Recurrent(init, apply, initial_state, step)


RECURRENT: dict[str, Callable[..., Recurrent]] = {
    "gru": gru,
    "lstm": lstm,
    "transformer": causal_transformer,
}


def build_recurrent(setting: str | Options | Recurrent) -> Recurrent:
    """A recurrent network.

    Args:
      setting: a name in `RECURRENT`, `{"kind": name, **arguments}`, or the network itself.

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    if isinstance(setting, Recurrent):
        return setting
    return make(RECURRENT, setting, "recurrent network")

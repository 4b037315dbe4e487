"""Activations, LSTMs and compositions of layers, see `vaejax.networks.signal_convolutions`."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax

from vaejax.core.types import PyTree
from vaejax.networks.layers import activation as activation_of
from vaejax.networks.signal_convolutions import Conv, Layer

__all__ = ["Activation", "Lstm", "Residual", "Stack"]

_Out = tuple[jax.Array, PyTree]


@dataclasses.dataclass(frozen=True)
class Activation:
    """An activation by name; `'snake'` is x + sin²(αx) / α with one α per channel (2006.08195)."""

    name: str
    channels: int

    def init(self, key: jax.Array) -> PyTree:
        del key
        return {"alpha": jnp.ones(self.channels)} if self.name == "snake" else {}

    def apply(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Out:
        del state
        if self.name != "snake":
            return activation_of(self.name)(x), ()
        alpha = params["alpha"].astype(x.dtype)[None, None]
        return x + jnp.square(jnp.sin(alpha * x)) / (alpha + 1e-9).astype(x.dtype), ()


@dataclasses.dataclass(frozen=True)
class Lstm:
    """LSTM layers of `channels` units (in float32), added to their input.

    The gates are, in this order: input, forget, cell, output. The state is h and c of each layer.
    """

    channels: int
    layers: int

    def init(self, key: jax.Array) -> PyTree:
        n, bound = self.channels, 1.0 / math.sqrt(self.channels)
        shapes = {"input": (n, 4 * n), "recurrent": (n, 4 * n), "bias": (4 * n,)}
        keys = jax.random.split(key, (self.layers, len(shapes)))
        return {
            f"layer_{i}": {
                name: jax.random.uniform(keys[i, j], shape, minval=-bound, maxval=bound)
                for j, (name, shape) in enumerate(shapes.items())
            }
            for i in range(self.layers)
        }

    def apply(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Out:
        y, after = x.astype(jnp.float32), []
        for i in range(self.layers):
            zeros = jnp.zeros((x.shape[0], self.channels))
            start = (zeros, zeros) if state is None else state[i]
            y, end = _lstm(params[f"layer_{i}"], y, start)
            after.append(end)
        return x + y.astype(x.dtype), tuple(after)


def _lstm(params: PyTree, x: jax.Array, state: PyTree) -> _Out:
    def step(carry: PyTree, gates: jax.Array) -> tuple[PyTree, jax.Array]:
        h, c = carry
        i, f, g, o = jnp.split(gates + h @ params["recurrent"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    inputs = x @ params["input"] + params["bias"][None, None]
    state, y = lax.scan(step, state, inputs.swapaxes(0, 1))
    return y.swapaxes(0, 1), state


@dataclasses.dataclass(frozen=True)
class Stack:
    """Layers one after another, by name; parameters and state are dicts of theirs."""

    layers: tuple[tuple[str, Layer], ...]

    def init(self, key: jax.Array) -> PyTree:
        keys = jax.random.split(key, len(self.layers))
        made = {name: layer.init(k) for (name, layer), k in zip(self.layers, keys, strict=True)}
        return {name: params for name, params in made.items() if params}

    def apply(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Out:
        after = {}
        for name, layer in self.layers:
            before = None if state is None else state[name]
            x, after[name] = layer.apply(params.get(name, {}), x, before)
        return x, after


@dataclasses.dataclass(frozen=True)
class Residual:
    """The output of layers, added to the input or to a 1×1 convolution of it (`shortcut`)."""

    block: Stack
    shortcut: Conv | None = None

    def init(self, key: jax.Array) -> PyTree:
        keys = jax.random.split(key)
        params = self.block.init(keys[0])
        return params | ({} if self.shortcut is None else {"shortcut": self.shortcut.init(keys[1])})

    def apply(self, params: PyTree, x: jax.Array, state: PyTree = None) -> _Out:
        y, after = self.block.apply(params, x, state)
        if self.shortcut is not None:
            x, _ = self.shortcut.apply(params["shortcut"], x, None)
        return x.astype(y.dtype) + y, after

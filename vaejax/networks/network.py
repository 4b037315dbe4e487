"""The interface of networks: a pair of pure functions over a tree of float32 parameters.

`from_linen` and `from_nnx` adapt Flax modules to it; any other code can be written as a `Network`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen, nnx

from vaejax.core.types import PyTree

__all__ = ["Network", "bind_constants", "from_linen", "from_nnx", "reshaped", "unconditional"]


class Network(NamedTuple):
    """A function with parameters.

    Attributes:
      init: `(key, *inputs) -> params`.
      apply: `(params, *inputs) -> output`, float32.
    """

    init: Callable[..., PyTree]
    apply: Callable[..., PyTree]


def _float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda a: a.astype(jnp.float32), tree)


def from_linen(module: linen.Module) -> Network:
    """A Flax Linen module without mutable state, as a `Network`.

    Raises:
      ValueError: at init, if the module has state besides parameters (batch statistics, say).
    """

    def init(key: jax.Array, *inputs: PyTree) -> PyTree:
        variables = module.init(key, *inputs)
        state = sorted(set(variables) - {"params"})
        if state:
            raise ValueError(
                f"{type(module).__name__} keeps state in {state}; a Network has parameters only "
                "(use group norm in place of batch norm)"
            )
        return variables.get("params", {})

    def apply(params: PyTree, *inputs: PyTree) -> PyTree:
        return _float32(module.apply({"params": params}, *inputs))

    return Network(init, apply)


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """A Flax NNX module without mutable state, as a `Network`.

    Args:
      make: random streams -> the module.

    Raises:
      ValueError: if the module has state besides parameters.
    """

    def split(key: jax.Array) -> PyTree:
        """The graph, the parameters and all other state of a new module."""
        return nnx.split(make(nnx.Rngs(params=key)), nnx.Param, ...)

    # The structure does not depend on the key; only the parameters do.
    graph, _, rest = jax.eval_shape(split, jax.eval_shape(lambda: jax.random.key(0)))
    state = [".".join(map(str, path)) for path, leaf in nnx.to_flat_state(rest)]
    if state:
        raise ValueError(f"the NNX module keeps state in {state}; a Network has parameters only")

    def init(key: jax.Array, *inputs: PyTree) -> PyTree:
        del inputs
        return nnx.to_pure_dict(split(key)[1])

    def apply(params: PyTree, *inputs: PyTree) -> PyTree:
        _, abstract, _ = jax.eval_shape(split, jax.eval_shape(lambda: jax.random.key(0)))
        nnx.replace_by_pure_dict(abstract, params)
        return _float32(nnx.merge(graph, abstract, rest)(*inputs))

    return Network(init, apply)


def unconditional(network: Network) -> Network:
    """The same network, which ignores the condition that it receives as a second input."""
    return Network(
        lambda key, x, *condition: network.init(key, x),
        lambda params, x, *condition: network.apply(params, x),
    )


def bind_constants(network: Network, count: int) -> Network:
    """The network with `count` trained scalars appended to the channels of its output.

    The scalars do not depend on the input, start at 0, and are trained with the network's own
    parameters.
    """

    def init(key: jax.Array, *inputs: PyTree) -> PyTree:
        return {"network": network.init(key, *inputs), "constants": jnp.zeros(count)}

    def apply(params: PyTree, *inputs: PyTree) -> jax.Array:
        out = network.apply(params["network"], *inputs)
        constants = params["constants"].reshape((1,) * (out.ndim - 1) + (count,))
        constants = jnp.broadcast_to(constants, (*out.shape[:-1], count))
        return jnp.concatenate([out, constants], axis=-1)

    return Network(init, apply)


def reshaped(network: Network, shape: tuple[int, ...]) -> Network:
    """The network with its output reshaped to `[B, *shape]`."""
    return Network(
        network.init,
        lambda params, *inputs: network.apply(params, *inputs).reshape(-1, *shape),
    )

"""The interface of networks: a pair of pure functions over a tree of float32 parameters.

`from_linen` and `from_nnx` adapt Flax modules to it; any other code can be written as a `Network`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from vaejax.core.rng import key_shape
from vaejax.core.types import PyTree
from vaejax.networks.layers import Conv

if TYPE_CHECKING:
    from flax import nnx

__all__ = [
    "Network",
    "apply_masked",
    "bind_constants",
    "from_linen",
    "from_nnx",
    "reshaped",
    "unconditional",
]


class Network(NamedTuple):
    """A function with parameters.

    Attributes:
      init: `(key, *inputs) -> params`.
      apply: `(params, *inputs) -> output`, float32.
      masked: `(params, mask, *inputs) -> output`, for networks that use the mask of an event
        besides the event itself, whose missing elements are zeros; else None.
      feature_mask: mask of an event -> mask of the positions of an encoder's output, for
        architectures whose output has positions; else None.
      last_layer: path of the weights of the last layer in the parameters, names joined by `/`, as
        in `"Conv_2/kernel"`; None if the architecture declares none.
      maps: `(params, *inputs) -> the outputs of its convolutions`, in their order; else None.
    """

    init: Callable[..., PyTree]
    apply: Callable[..., PyTree]
    masked: Callable[..., PyTree] | None = None
    feature_mask: Callable[[jax.Array], jax.Array] | None = None
    last_layer: str | None = None
    maps: Callable[..., tuple[jax.Array, ...]] | None = None


def apply_masked(
    network: Network, params: PyTree, mask: jax.Array | None, *inputs: PyTree
) -> PyTree:
    """The network's output, given the mask of the event if there is one and the network uses it."""
    if mask is None or network.masked is None:
        return network.apply(params, *inputs)
    return network.masked(params, mask, *inputs)


def _float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda a: a.astype(jnp.float32), tree)


def from_linen(
    module: linen.Module,
    *,
    masks: bool = False,
    feature_mask: Callable[[jax.Array], jax.Array] | None = None,
    last_layer: str | None = None,
) -> Network:
    """A Flax Linen module without mutable state, as a `Network`.

    Args:
      module: the module.
      masks: whether its call has the keyword argument `mask`, see `Network.masked`.
      feature_mask: see `Network`.
      last_layer: see `Network`.

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

    def masked(params: PyTree, mask: jax.Array, *inputs: PyTree) -> PyTree:
        return _float32(module.apply({"params": params}, *inputs, mask=mask))

    def maps(params: PyTree, *inputs: PyTree) -> tuple[jax.Array, ...]:
        _, state = module.apply(
            {"params": params},
            *inputs,
            mutable=["intermediates"],
            capture_intermediates=lambda part, _: isinstance(part, Conv),
        )
        return tuple(_float32(_leaves_in_order(state.get("intermediates", {}))))

    return Network(init, apply, masked if masks else None, feature_mask, last_layer, maps)


def _leaves_in_order(tree: PyTree) -> list[jax.Array]:
    """The leaves of nested dicts and tuples, dicts in the order of insertion."""
    if isinstance(tree, Mapping):
        return [leaf for value in tree.values() for leaf in _leaves_in_order(value)]
    if isinstance(tree, tuple):
        return [leaf for value in tree for leaf in _leaves_in_order(value)]
    return [tree]


def from_nnx(make: "Callable[[nnx.Rngs], nnx.Module]") -> Network:
    """A Flax NNX module without mutable state, as a `Network`.

    Args:
      make: random streams -> the module.

    Raises:
      ValueError: if the module has state besides parameters.
    """
    from flax import nnx  # a tenth of a second that most programs do not need

    def split(key: jax.Array) -> PyTree:
        """The graph, the parameters and all other state of a new module."""
        return nnx.split(make(nnx.Rngs(params=key)), nnx.Param, ...)

    # The structure does not depend on the key; only the parameters do.
    graph, _, rest = jax.eval_shape(split, key_shape())
    state = [".".join(map(str, path)) for path, leaf in nnx.to_flat_state(rest)]
    if state:
        raise ValueError(f"the NNX module keeps state in {state}; a Network has parameters only")

    def init(key: jax.Array, *inputs: PyTree) -> PyTree:
        del inputs
        return nnx.to_pure_dict(split(key)[1])

    def apply(params: PyTree, *inputs: PyTree) -> PyTree:
        _, abstract, _ = jax.eval_shape(split, key_shape())
        nnx.replace_by_pure_dict(abstract, params)
        return _float32(nnx.merge(graph, abstract, rest)(*inputs))

    return Network(init, apply)


def unconditional(network: Network) -> Network:
    """The same network, which ignores the condition that it receives as a second input."""
    masked = network.masked
    return Network(
        lambda key, x, *condition: network.init(key, x),
        lambda params, x, *condition: network.apply(params, x),
        None if masked is None else lambda params, mask, x, *condition: masked(params, mask, x),
        network.feature_mask,
        network.last_layer,
    )


def bind_constants(network: Network, count: int) -> Network:
    """The network with `count` trained scalars appended to the channels of its output.

    The scalars do not depend on the input, start at 0, and are trained with the network's own
    parameters.
    """

    def init(key: jax.Array, *inputs: PyTree) -> PyTree:
        return {"network": network.init(key, *inputs), "constants": jnp.zeros(count)}

    def append(params: PyTree, out: jax.Array) -> jax.Array:
        constants = params["constants"].reshape((1,) * (out.ndim - 1) + (count,))
        constants = jnp.broadcast_to(constants, (*out.shape[:-1], count))
        return jnp.concatenate([out, constants], axis=-1)

    def apply(params: PyTree, *inputs: PyTree) -> jax.Array:
        return append(params, network.apply(params["network"], *inputs))

    def masked(params: PyTree, mask: jax.Array, *inputs: PyTree) -> jax.Array:
        return append(params, apply_masked(network, params["network"], mask, *inputs))

    layer = network.last_layer and f"network/{network.last_layer}"
    return Network(init, apply, masked, network.feature_mask, layer)


def reshaped(network: Network, shape: tuple[int, ...]) -> Network:
    """The network with its output reshaped to `[B, *shape]`."""
    return Network(
        network.init,
        lambda params, *inputs: network.apply(params, *inputs).reshape(-1, *shape),
        last_layer=network.last_layer,
    )

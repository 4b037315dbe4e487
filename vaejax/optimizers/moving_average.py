"""An optimizer whose parameters are moving averages of losses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Losses
from vaejax.core.registry import near_names
from vaejax.core.types import PyTree

__all__ = ["AverageState", "moving_average"]


class AverageState(NamedTuple):
    """The number of updates, int32 `[]`."""

    count: jax.Array  # type: ignore[assignment]  # tuples have a method `count`


def moving_average(decay: float = 0.99) -> optax.GradientTransformationExtraArgs:
    """Each parameter, named as a loss, becomes the moving average of this loss over the steps.

    State that losses read, such as the mean logits of LeCam (2104.03310), is kept in this way: in
    parameters that nobody differentiates. After t steps the weight of the newest value is
    (1 − decay) / (1 − decayᵗ), so the average of the first steps is not drawn towards the initial
    parameters.

    Args:
      decay: of the average.

    Raises:
      ValueError: at the first update, a parameter is not named as a loss of the chain.
    """

    def init(params: PyTree) -> AverageState:
        del params
        return AverageState(jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree,
        state: AverageState,
        params: PyTree = None,
        *,
        losses: Losses,
        **extra: PyTree,
    ) -> tuple[PyTree, AverageState]:
        del updates, extra
        count = state.count + 1

        def change(path: tuple[PyTree, ...], old: jax.Array) -> jax.Array:
            name = getattr(path[-1], "key", str(path[-1]))
            if name not in losses:
                raise ValueError(
                    f"a moving average follows the loss {near_names(name, losses)}, which no "
                    "transform of the chain makes"
                )
            value = losses[name].mean(axis=0) if losses[name].ndim else losses[name]
            if value.shape != old.shape:
                raise ValueError(
                    f"the moving average of the loss {name!r} has shape {old.shape}, but the "
                    f"loss has {value.shape}"
                )
            remaining = jnp.power(decay, count.astype(old.dtype))
            return ((1.0 - decay) / (1.0 - remaining) * (value - old)).astype(old.dtype)

        return jax.tree_util.tree_map_with_path(change, params), AverageState(count)

    return optax.GradientTransformationExtraArgs(init, update)

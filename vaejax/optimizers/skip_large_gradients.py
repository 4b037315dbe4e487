"""Steps that are too large are left out, but never too many in a row."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class SkipState(NamedTuple):
    """How many steps in a row were left out, int32 `[]`, and the inner optimizer's state."""

    in_a_row: jax.Array
    inner: Any


def skip_large(
    inner: optax.GradientTransformation, above: float, at_most: int = 10
) -> optax.GradientTransformationExtraArgs:
    """A player's optimizer that leaves out steps whose gradient is too long.

    Very deep ladders now and then meet a gradient thousands of times the usual one (VDVAE,
    2011.10650, section 3.2), which would undo hours of training even if it were clipped. If on the
    other hand the gradients have grown for good, leaving out all of them would end the learning:
    after `at_most` in a row one is taken. In a step that is left out neither the parameters nor
    the inner state change.

    Args:
      inner: the player's optimizer, which may clip what is taken.
      above: the norm of the player's gradient from which on a step is left out.
      at_most: steps left out in a row.

    Raises:
      ValueError: `above` is not positive or `at_most` not at least 1.
    """
    if not above > 0 or at_most < 1:
        raise ValueError(
            f"large steps are skipped above a norm > 0 and at most ≥ 1 times in a row, found "
            f"above={above}, at_most={at_most}"
        )
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> SkipState:
        return SkipState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: Any, state: SkipState, params: Any = None, **extra: Any
    ) -> tuple[Any, SkipState]:
        # Not `norm >= above`: a norm that is nan is too large as well.
        skips = ~(optax.tree.norm(updates) < above) & (state.in_a_row < at_most)
        change, moved = inner.update(updates, state.inner, params, **extra)
        change = jax.tree.map(lambda u: jnp.where(skips, jnp.zeros_like(u), u), change)
        kept = jax.tree.map(lambda new, old: jnp.where(skips, old, new), moved, state.inner)
        return change, SkipState(jnp.where(skips, state.in_a_row + 1, 0).astype(jnp.int32), kept)

    return optax.GradientTransformationExtraArgs(init, update)

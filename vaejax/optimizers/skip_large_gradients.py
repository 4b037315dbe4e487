"""Skipping of steps with large gradients, with a bound on consecutive skips."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core.types import PyTree

__all__ = ["SkipState", "skip_large"]


class SkipState(NamedTuple):
    """Number of consecutive skipped steps, int32 `[]`, and the inner optimizer's state."""

    consecutive: jax.Array
    inner: PyTree


def skip_large(
    inner: optax.GradientTransformation, above: float, at_most: int = 10
) -> optax.GradientTransformationExtraArgs:
    """A player's optimizer that skips steps whose gradient has a large norm.

    In very deep hierarchies gradients are occasionally thousands of times larger than usual (VDVAE,
    2011.10650, section 3.2), which destabilises training even with clipping. If gradients stay
    large, skipping all of them would stop training: after `at_most` consecutive skips one step is
    taken. In a skipped step neither the parameters nor the inner state change.

    Args:
      inner: the player's optimizer, which may clip the other gradients.
      above: steps with at least this norm of the player's gradient are skipped.
      at_most: maximum number of consecutive skips.

    Raises:
      ValueError: `above` is not positive or `at_most` not at least 1.
    """
    if not above > 0 or at_most < 1:
        raise ValueError(
            f"skipping large gradients needs above > 0 and at_most ≥ 1, found above={above}, "
            f"at_most={at_most}"
        )
    inner = optax.with_extra_args_support(inner)

    def init(params: PyTree) -> SkipState:
        return SkipState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: PyTree, state: SkipState, params: PyTree = None, **extra: PyTree
    ) -> tuple[PyTree, SkipState]:
        # Not `norm >= above`: a NaN norm is also skipped.
        skips = ~(optax.tree.norm(updates) < above) & (state.consecutive < at_most)
        change, after = inner.update(updates, state.inner, params, **extra)
        change = jax.tree.map(lambda u: jnp.where(skips, jnp.zeros_like(u), u), change)
        kept = jax.tree.map(lambda new, old: jnp.where(skips, old, new), after, state.inner)
        consecutive = jnp.where(skips, state.consecutive + 1, 0).astype(jnp.int32)
        return change, SkipState(consecutive, kept)

    return optax.GradientTransformationExtraArgs(init, update)

"""Balance between players: one who is too far ahead waits, as a gradient transformation."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Losses
from vaejax.core.registry import near_names


def freeze_when_ahead(
    inner: optax.GradientTransformation,
    when: str,
    *,
    losses: Sequence[str] = ("gan_real", "gan_fake"),
    equilibrium: float = 0.68,
    margin: float = 0.35,
) -> optax.GradientTransformationExtraArgs:
    """A player's optimizer that skips the steps in which the player is too far ahead.

    The rule of VAE-GAN's authors' code (1512.09300; 0.68 and 0.35 are theirs, 0.68 being about the
    log 2 of an undecided critic): the critic waits while one of its losses is below equilibrium −
    margin, the decoder while one is above equilibrium + margin, and neither if both would. In a
    step that is skipped neither the parameters nor the optimizer's state change.

    Args:
      inner: the player's optimizer.
      when: `"low"` to wait while a loss is low (the critic), `"high"` while one is high.
      losses: which losses of the chain are looked at, each averaged over the batch.
      equilibrium: of each loss, in its unit.
      margin: how far from it they may be.

    Raises:
      ValueError: `when` is neither; at the first update, a loss that the chain does not make.
    """
    if when not in ("low", "high"):
        raise ValueError(f"a player freezes when losses are {near_names(when, ('low', 'high'))}")
    inner = optax.with_extra_args_support(inner)
    names = tuple(losses)

    def update(
        updates: Any, state: Any, params: Any = None, *, losses: Losses, **extra: Any
    ) -> tuple[Any, Any]:
        for name in names:
            if name not in losses:
                raise ValueError(
                    f"a player waits for the loss {near_names(name, losses)}, which no transform "
                    "of the chain makes"
                )
        values = jnp.stack([losses[name].mean() for name in names])
        low = jnp.any(values < equilibrium - margin)
        high = jnp.any(values > equilibrium + margin)
        waits = low & ~high if when == "low" else high & ~low
        change, moved = inner.update(updates, state, params, losses=losses, **extra)
        change = jax.tree.map(lambda u: jnp.where(waits, jnp.zeros_like(u), u), change)
        return change, jax.tree.map(lambda new, old: jnp.where(waits, old, new), moved, state)

    return optax.GradientTransformationExtraArgs(inner.init, update)

"""Balance between adversaries: a player is not updated while it is too far ahead."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from vaejax.core.game import Losses
from vaejax.core.registry import near_names
from vaejax.core.types import PyTree

__all__ = ["freeze_when_ahead"]


def freeze_when_ahead(
    inner: optax.GradientTransformation,
    when: str,
    *,
    losses: Sequence[str] = ("gan_real", "gan_fake"),
    equilibrium: float = 0.68,
    margin: float = 0.35,
) -> optax.GradientTransformationExtraArgs:
    """A player's optimizer that skips the steps in which the player is too far ahead.

    The rule in the code of VAE-GAN's authors (1512.09300; 0.68 and 0.35 are theirs, 0.68 being
    about the log 2 of an undecided discriminator): the discriminator is frozen while one of its
    losses is below equilibrium − margin, the decoder while one is above equilibrium + margin, and
    neither if both conditions hold. In a skipped step neither the parameters nor the optimizer's
    state change.

    Args:
      inner: the player's optimizer.
      when: `"low"` to freeze while a loss is low (discriminator), `"high"` while one is high.
      losses: names of the losses compared, each averaged over the batch.
      equilibrium: of each loss, in its unit.
      margin: tolerated distance from the equilibrium.

    Raises:
      ValueError: `when` is neither; at the first update, a loss that the chain does not make.
    """
    if when not in ("low", "high"):
        raise ValueError(f"a player freezes when losses are {near_names(when, ('low', 'high'))}")
    inner = optax.with_extra_args_support(inner)
    names = tuple(losses)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, *, losses: Losses, **extra: PyTree
    ) -> tuple[PyTree, PyTree]:
        for name in names:
            if name not in losses:
                raise ValueError(
                    f"freezing depends on the loss {near_names(name, losses)}, which no transform "
                    "of the chain makes"
                )
        values = jnp.stack([losses[name].mean() for name in names])
        low = jnp.any(values < equilibrium - margin)
        high = jnp.any(values > equilibrium + margin)
        frozen = low & ~high if when == "low" else high & ~low
        change, after = inner.update(updates, state, params, losses=losses, **extra)
        change = jax.tree.map(lambda u: jnp.where(frozen, jnp.zeros_like(u), u), change)
        return change, jax.tree.map(lambda new, old: jnp.where(frozen, old, new), after, state)

    return optax.GradientTransformationExtraArgs(inner.init, update)

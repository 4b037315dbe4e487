"""An optimizer that changes nothing."""

import optax

__all__ = ["freeze"]


def freeze(learning_rate: float = 0.0) -> optax.GradientTransformation:
    """Keeps the parameters of a player as they are; its losses are not differentiated.

    Args:
      learning_rate: unused, so that a player with a learning rate can be frozen by one flag.
    """
    del learning_rate
    return optax.set_to_zero()

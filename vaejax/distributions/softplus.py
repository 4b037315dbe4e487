"""log(1 + e^x), in the form that XLA compiles well."""

import jax
import jax.numpy as jnp

__all__ = ["softplus"]


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """log(1 + e^x), elementwise.

    The same numbers as `jax.nn.softplus`, whose check for NaN takes XLA half of the time on CPU: a
    maximum passes NaN on by itself. The derivative is the logistic function.
    """
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _derivative(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return softplus(*primals), jax.nn.sigmoid(*primals) * tangents[0]

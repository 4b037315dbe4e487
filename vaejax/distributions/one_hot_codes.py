"""The posterior of a quantizer."""

import dataclasses

import jax
import jax.numpy as jnp

from vaejax.distributions.protocol import STATIC


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Codes:
    """The deterministic posterior of a quantizer: all mass on the chosen code.

    Attributes:
      features: what was quantised, z_e, `[..., D]`.
      codes: the chosen codebook entries e, `[..., D]`, through which gradients reach the codebook.
      indices: which entries, int32 `[...]`; −1 where nothing was chosen.
      size: number of entries K.
    """

    features: jax.Array
    codes: jax.Array
    indices: jax.Array
    size: int = dataclasses.field(metadata=STATIC)

    @property
    def mean(self) -> jax.Array:
        return self.codes

    def sample(self, key: jax.Array) -> jax.Array:
        del key
        return self.indices

    def log_prob(self, x: jax.Array) -> jax.Array:
        return jnp.where(x == self.indices, 0.0, -jnp.inf)

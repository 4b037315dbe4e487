"""The posterior of a quantizer."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import STATIC, Capabilities

__all__ = ["OneHotCodes"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneHotCodes:
    """The deterministic posterior of a quantizer: all mass on the chosen code.

    Attributes:
      features: the quantised features z_e, `[..., D]`.
      codes: the chosen codebook entries e, `[..., D]`, through which gradients reach the codebook.
      indices: of these entries, int32 `[...]`; −1 where no code was chosen.
      size: number of entries K.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(indices=True, quantized=True)

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

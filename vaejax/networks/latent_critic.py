"""The critic of FactorVAE: who tells one distribution of vectors from another."""

from collections.abc import Sequence

from vaejax.networks.mlp import MLP
from vaejax.networks.network import Network, from_linen


def latent_critic(
    hidden: Sequence[int] = (1000,) * 6,
    *,
    out: int = 2,
    activation: str = "leaky_relu",
    dtype: str = "float32",
) -> Network:
    """A multilayer perceptron `[B, D] -> [B, out]`; by default FactorVAE's (1802.05983, app. A).

    Args:
      hidden: widths of its layers.
      out: logits, one for each class.
      activation: between layers; `'leaky_relu'` has slope 0.2.
      dtype: in which to compute.
    """
    return from_linen(MLP(tuple(hidden), (out,), activation, dtype))

"""The discriminator of FactorVAE, a classifier of latent vectors."""

from collections.abc import Sequence

from vaejax.networks.mlp import MLP
from vaejax.networks.network import Network, from_linen

__all__ = ["latent_discriminator"]


def latent_discriminator(
    hidden: Sequence[int] = (1000,) * 6,
    *,
    num_logits: int = 2,
    activation: str = "leaky_relu",
    dtype: str = "float32",
) -> Network:
    """A multilayer perceptron `[B, D] -> [B, num_logits]`.

    The defaults are those of FactorVAE (1802.05983, appendix A).

    Args:
      hidden: widths of the hidden layers.
      num_logits: number of outputs, one for each class.
      activation: between layers; `'leaky_relu'` has slope 0.2.
      dtype: of the computation.
    """
    return from_linen(MLP(tuple(hidden), (num_logits,), activation, dtype))

"""The networks of a hierarchical VAE, whatever their layers are."""

from typing import NamedTuple

from vaejax.networks.network import Network

__all__ = ["LadderNetworks", "StageNetworks"]


class StageNetworks(NamedTuple):
    """The fields of `models.Stage` except `merge`."""

    blocks: int
    enter: Network
    prior: Network
    posterior: Network
    update: Network


class LadderNetworks(NamedTuple):
    """The networks of all stages.

    Attributes:
      bottom_up: event -> activations of each stage, the top first.
      stages: the top first.
      output: h of the last stage -> features for the likelihood.
      latent_dims: channels of z in each stage, the top first.
    """

    bottom_up: Network
    stages: tuple[StageNetworks, ...]
    output: Network
    latent_dims: tuple[int, ...]

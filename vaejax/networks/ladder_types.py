"""What a ladder's networks are, whatever they are made of."""

from typing import NamedTuple

from vaejax.networks.network import Network


class StageNetworks(NamedTuple):
    """What `models.ladder.Stage` holds, without how its latents are merged."""

    blocks: int
    enter: Network
    prior: Network
    posterior: Network
    step: Network


class LadderNetworks(NamedTuple):
    """A ladder's networks; stages and latent sizes the top first."""

    bottom_up: Network
    stages: tuple[StageNetworks, ...]
    output: Network
    latent_dims: tuple[int, ...]

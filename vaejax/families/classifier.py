"""A classifier, trained as everything else is: for the features by which others are judged."""

from collections.abc import Sequence
from typing import Any

from vaejax import losses, models, networks
from vaejax.core.game import Family, assign, chain
from vaejax.families.shared import Players


def classifier(
    shape: Sequence[int],
    players: Players,
    *,
    network: Any = "conv",
    features: int = 128,
    classes: int = 0,
) -> Family:
    """p(label | x): player `classifier` minimises nll, the cross-entropy.

    Args:
      shape: of one event.
      players: `classifier`.
      network: an architecture, of which the encoder is taken.
      features: how many the last layer sees.
      classes: of the data.

    Raises:
      ValueError: the data have no classes.
    """
    if classes < 2:
        raise ValueError(f"a classifier wants data of at least two classes, found {classes}")
    encoder, _ = networks.build(network, shape, features, shape[-1])
    head = networks.latent_critic((), out=classes)  # one dense layer
    return Family(
        models.classifier(encoder, head, shape),
        chain(losses.nll(), losses.kl()),
        assign({"classifier": ("encoder", "head")}, players),
    )

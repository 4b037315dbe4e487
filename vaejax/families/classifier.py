"""A classifier, whose features evaluate the samples of other models."""

from collections.abc import Sequence

from vaejax import losses, models, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.types import Options
from vaejax.distributions.likelihoods import mixed
from vaejax.families.shared import Players
from vaejax.models.shared import with_encoder_input

__all__ = ["classifier"]


def classifier(
    shape: Sequence[int],
    players: Players,
    *,
    network: str | Options | networks.Pair = "conv",
    features: int = 128,
    classes: int = 0,
    column_classes: Sequence[int] = (),
) -> Family:
    """p(label | x): player `classifier` minimises nll, the cross-entropy.

    Args:
      shape: of one event.
      players: `classifier`.
      network: an architecture, whose encoder is used.
      features: number of inputs of the last layer.
      classes: number of classes, from the data.
      column_classes: number of classes of each column of a table, 0 for numbers, from the data;
        categories are read as one-hot values.

    Raises:
      ValueError: there are fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"a classifier needs data of at least two classes, found {classes}")
    encoder, _ = networks.build(network, shape, features, shape[-1])
    if column_classes:
        encoder = with_encoder_input(encoder, mixed(column_classes))
    head = networks.latent_discriminator((), num_logits=classes)  # one dense layer
    return Family(
        models.classifier(encoder, head, shape),
        chain(losses.nll(), losses.kl()),
        assign({"classifier": ("encoder", "head")}, players),
    )

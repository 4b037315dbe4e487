"""Semi-supervised conditional VAE."""

from collections.abc import Sequence

from vaejax import losses, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.types import Options
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players
from vaejax.latents import bottlenecks
from vaejax.models.semi_supervised import semi_supervised

__all__ = ["m2"]


def m2(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 50,
    network: str | Options | networks.Pair = "mlp",
    classifier_network: str | Options | networks.Pair | None = None,
    likelihood: str | Options | Likelihood = "bernoulli",
    classes: int = 0,
) -> Family:
    """M2 (Kingma et al., 1406.5298, eq. 6 to 9): player `vae` minimises nll + kl + w · label_nll.

    Labels of −1 are summed out. w times the fraction of labelled examples in a batch is α/N of the
    paper, which uses α = 0.1 · N.

    Args:
      shape: of one event.
      players: `vae`.
      latent_dim: dimensions of z.
      network: of q(z | x, y) and p(x | y, z).
      classifier_network: architecture of q(y | x), whose encoder is used; None for `network`.
      likelihood: p(x | y, z).
      classes: number of classes, from the data.

    Raises:
      ValueError: there are fewer than two classes.
    """
    p, bottleneck = make_likelihood(likelihood), bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    own = network if classifier_network is None else classifier_network
    classifier, _ = networks.build(own, shape, max(classes, 1), p.width(shape[-1]))
    model = semi_supervised(
        classifier, encoder, bottleneck, decoder, p, tuple(shape), classes=classes
    )
    groups = ("classifier", "encoder", "decoder")
    terms = chain(losses.nll(), losses.kl(), losses.label_nll())
    return Family(model, terms, assign({"vae": groups}, players))

"""Hierarchical VAE."""

from collections.abc import Callable, Sequence

from vaejax import losses, models, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.registry import call, make
from vaejax.core.types import Options
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players
from vaejax.latents.bottlenecks import MIN_SCALE
from vaejax.networks import LadderNetworks

__all__ = ["LADDERS", "hierarchical"]

LADDERS: dict[str, Callable[..., LadderNetworks]] = {
    "conv": networks.conv_ladder,
    "dense": networks.dense_ladder,
}


def hierarchical(
    shape: Sequence[int],
    players: Players,
    *,
    network: str | Options = "dense",
    merge: str = "precision",
    likelihood: str | Options | Likelihood = "bernoulli",
    free_bits: Options | None = None,
    balance: bool = False,
    remat: bool = True,
    min_scale: float = MIN_SCALE,
) -> Family:
    """A hierarchy of latents: player `vae` minimises nll + kl, with a KL column for each latent.

    Args:
      shape: of one event.
      players: `vae`.
      network: `'dense'` or `'conv'`, with settings of `networks.dense_ladder` or `conv_ladder`.
      merge: how the posterior of a latent is computed from its prior and the encoder's features:
        `'precision'` (LVAE), `'residual'` (NVAE) or `'posterior_only'` (VDVAE); see
        `models.ladder.MERGES`. The top latent of a dense ladder, whose prior is N(0, I), always has
        `'posterior_only'`.
      likelihood: p(x | z).
      free_bits: settings of `losses.free_bits`, which adds the loss `kl_free`; None for none.
      balance: whether to add the loss `kl_balanced`, see `losses.kl_balancing`.
      remat: see `models.ladder`.
      min_scale: see `models.ladder`.
    """
    p = make_likelihood(likelihood)
    nets = make(LADDERS, network, "ladder", shape, p.width(shape[-1]))
    kind = network if isinstance(network, str) else network["kind"]
    stages = [
        models.Stage(
            **stage._asdict(), merge="posterior_only" if kind == "dense" and i == 0 else merge
        )
        for i, stage in enumerate(nets.stages)
    ]
    model = models.ladder(
        nets.bottom_up, stages, nets.output, p, shape, latent_dims=nets.latent_dims, remat=remat,
        min_scale=min_scale,
    )  # fmt: skip
    terms = [losses.nll(), losses.kl()]
    if free_bits is not None:
        terms.append(call(losses.free_bits, "free_bits", **free_bits))
    if balance:
        terms.append(losses.kl_balancing())
    return Family(model, chain(*terms), assign({"vae": ("encoder", "decoder")}, players))

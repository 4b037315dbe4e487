"""Sparse VAEs: sparse latents, and sparse decoding of tables."""

from collections.abc import Sequence

import vaejax.latents.pseudo_input_prior  # noqa: F401, registers the prior 'pseudo_inputs'
from vaejax import losses, models, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.registry import call
from vaejax.core.schedules import schedule
from vaejax.core.types import Options, Weight
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.distributions.spike_and_slab_lasso import SpikeAndSlabLasso
from vaejax.families.shared import Players
from vaejax.latents import bottlenecks, priors
from vaejax.models import autoencoder, build_columns
from vaejax.models.sparse_decoder import Columns
from vaejax.optimizers.em_updates import closed_form_inclusion

__all__ = ["sparse_decoder", "sparse_vae"]


def sparse_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 64,
    network: str | Options | networks.Pair = "conv",
    likelihood: str | Options | Likelihood = "bernoulli",
    prior: str | Options | priors.LatentPrior = "standard",
    alpha: float = 0.01,
    sharpness: Options | Weight = 200.0,
    slab: Options | Weight = 1.0,
    relaxed: bool = True,
) -> Family:
    """Variational sparse coding (Tonolini et al., UAI 2019): player `vae` minimises nll + kl.

    With the prior `'pseudo_inputs'`, it minimises nll + kl + sparsity_kl.

    Args:
      shape: of one event.
      players: `vae`.
      latent_dim: dimensions of z.
      network: encoder and decoder.
      likelihood: p(x | z).
      prior: one of `priors.PRIORS`; `'standard'` is that of `bottlenecks.spike_and_slab`.
      alpha: for the prior `'standard'`, the probability that an element is not zero, see
        `bottlenecks.spike_and_slab`; otherwise that of `losses.sparsity_kl`.
      sharpness: number or schedule, see `bottlenecks.spike_and_slab`.
      slab: number or schedule, see `bottlenecks.spike_and_slab`.
      relaxed: see `bottlenecks.spike_and_slab`.
    """
    p, p_z = make_likelihood(likelihood), priors.latent_prior(prior, shape)
    bottleneck = bottlenecks.spike_and_slab(
        latent_dim,
        alpha=alpha,
        sharpness=schedule(sharpness),
        slab=schedule(slab),
        relaxed=relaxed,
    )
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape, prior=p_z)
    groups = ("encoder", "decoder", *(("prior",) if p_z else ()))
    terms = [losses.nll(), losses.kl(), *([losses.sparsity_kl(alpha)] if p_z else [])]
    return Family(model, chain(*terms), assign({"vae": groups}, players))


def sparse_decoder(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 5,
    columns: str | Options | Columns = "normal",
    encoder: Options | None = None,
    decoder: Options | None = None,
    lasso: Options | None = None,
    kernel_variance: float = 0.05,
    closed_form: bool = True,
    examples: int = 0,
) -> Family:
    """Sparse decoding (2110.10804), with three players.

    Player `vae` minimises nll + kl + ridge, `selector` nll + spike_and_slab_lasso. Player
    `columns`, who owns the per-column parameters of the likelihood besides the location, minimises
    nll, or for real numbers can be moved by `optimizers.residual_variance`.

    Args:
      shape: of one event, (D,).
      players: `vae`, `selector` and `columns`.
      latent_dim: dimensions of z.
      columns: type of table, one of `models.sparse_decoder.COLUMNS`.
      encoder: settings of the MLP; None for its defaults.
      decoder: settings of `networks.sparse_decoder`; None for its defaults.
      lasso: settings of `distributions.SpikeAndSlabLasso`; None for its defaults.
      kernel_variance: see `losses.ridge`.
      closed_form: whether the selector's θ is updated by EM in closed form; otherwise by the
        selector's optimizer.
      examples: number of training examples, from the data.

    Raises:
      ValueError: the events are not vectors.
    """
    if len(shape) != 1:
        raise ValueError(f"sparse_decoder takes vectors of shape (D,), found {tuple(shape)}")
    table, bottleneck = build_columns(columns), bottlenecks.gaussian(latent_dim)
    mlp = {"kind": "mlp", "hidden": (50, 50), **(encoder or {})}
    encode, _ = networks.build(mlp, shape, bottleneck.width, 1)
    decode = call(networks.sparse_decoder, "decoder", shape[0], **(decoder or {}))
    model = models.sparse_decoder(encode, bottleneck, decode, table, shape)
    prior = call(SpikeAndSlabLasso, "lasso", **(lasso or {}))
    owners = {"vae": ("encoder", "decoder"), "selector": ("selector",), "columns": ("columns",)}
    assigned = assign(owners, players)
    if closed_form:
        selector = assigned["selector"]
        tx = closed_form_inclusion(prior, selector.tx)
        assigned["selector"] = selector._replace(tx=tx)
    terms = chain(
        losses.nll(),
        losses.kl(),
        losses.spike_and_slab_lasso(prior, examples),
        losses.ridge(("decoder",), examples, kernel_variance),
    )
    return Family(model, terms, assigned)

"""Sparse VAE, in both meanings."""

from collections.abc import Mapping, Sequence
from typing import Any

import vaejax.latents.pseudo_input_prior  # noqa: F401, it registers its prior
from vaejax import losses, models, networks
from vaejax.core.game import Family, assign, chain
from vaejax.core.registry import call
from vaejax.core.schedules import schedule
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.distributions.spike_and_slab_lasso import SpikeAndSlabLasso
from vaejax.families.shared import Players
from vaejax.latents import bottlenecks, priors
from vaejax.models import autoencoder, columns_of
from vaejax.optimizers.em_updates import closed_form_inclusion


def sparse_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 64,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    alpha: float = 0.01,
    sharpness: Any = 200.0,
    slab: Any = 1.0,
    relaxed: bool = True,
) -> Family:
    """Variational sparse coding (Tonolini et al., UAI 2019): player `vae` minimises nll + kl.

    With the prior `'pseudo_inputs'`, nll + kl + spike. `sharpness`, `slab` (schedules, for the
    warm-ups), `relaxed` and, for the prior `'standard'`, `alpha` are those of
    `bottlenecks.spike_and_slab`; otherwise `alpha` is that of `losses.spike`.
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
    terms = [losses.nll(), losses.kl(), *([losses.spike(alpha)] if p_z else [])]
    return Family(model, chain(*terms), assign({"vae": groups}, players))


def sparse_decoder(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 5,
    columns: Any = "normal",
    encoder: Mapping[str, Any] | None = None,
    decoder: Mapping[str, Any] | None = None,
    lasso: Mapping[str, Any] | None = None,
    kernel_variance: float = 0.05,
    closed_form: bool = True,
    examples: int = 0,
) -> Family:
    """Sparse decoding (2110.10804): `vae` minimises nll + kl + ridge, `selector` nll + ssl.

    Player `columns`, who owns what the likelihood knows of a column beside its location, minimises
    nll or, if real numbers, moves by `optimizers.residual_variance`. `columns` is one of
    `models.sparse_decoder.COLUMNS`; `encoder`, `decoder` and `lasso` are arguments of the MLP, of
    `networks.sparse_decoder` and of `distributions.SpikeAndSlabLasso`, `kernel_variance` that of
    `losses.ridge`.
    In `closed_form` EM moves the selector's θ, otherwise its optimizer.
    """
    if len(shape) != 1:
        raise ValueError(f"sparse_decoder takes vectors of shape (D,), found {tuple(shape)}")
    kind, bottleneck = columns_of(columns), bottlenecks.gaussian(latent_dim)
    mlp = {"kind": "mlp", "hidden": (50, 50), **(encoder or {})}
    encode, _ = networks.build(mlp, shape, bottleneck.width, 1)
    decode = call(networks.sparse_decoder, "decoder", shape[0], **(decoder or {}))
    model = models.sparse_decoder(encode, bottleneck, decode, kind, shape)
    prior = call(SpikeAndSlabLasso, "lasso", **(lasso or {}))
    owners = {"vae": ("encoder", "decoder"), "selector": ("selector",), "columns": ("columns",)}
    table = assign(owners, players)
    if closed_form:
        row = table["selector"]
        table["selector"] = row._replace(tx=closed_form_inclusion(prior, row.tx))
    ridge = losses.ridge(("decoder",), examples, kernel_variance)
    terms = chain(losses.nll(), losses.kl(), losses.ssl(prior, examples), ridge)
    return Family(model, terms, table)

"""The families: a model, a chain of losses, a table of players; about a dozen lines each.

Weights, schedules and optimizers are the caller's: `players` maps each player of the family to
`(loss name -> weight, optimizer)`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

from vaejax.core.game import Family
from vaejax.core.registry import call, near_names, table
from vaejax.core.types import Options
from vaejax.families.added_losses import with_added_losses
from vaejax.families.classifier import classifier
from vaejax.families.conditional import cvae
from vaejax.families.discrete import vqvae, vqvae2
from vaejax.families.factor_vae_and_vae_gan import factor_vae, vae_gan
from vaejax.families.gaussian import (
    beta_tcvae,
    beta_vae,
    dip_vae,
    geco_vae,
    info_vae,
    iwae,
    sigma_vae,
)
from vaejax.families.hierarchical import hierarchical
from vaejax.families.second_stage import code_prior, gaussian_mixture
from vaejax.families.semi_supervised import m2
from vaejax.families.sequential import state_space, td_vae
from vaejax.families.shared import Players, with_columns
from vaejax.families.sparse import sparse_decoder, sparse_vae

# What reconstructs events can also have a discriminator and a perceptual loss.
beta_tcvae = with_added_losses(beta_tcvae)
beta_vae = with_added_losses(beta_vae)
cvae = with_added_losses(cvae)
dip_vae = with_added_losses(dip_vae)
geco_vae = with_added_losses(geco_vae)
hierarchical = with_added_losses(hierarchical)
info_vae = with_added_losses(info_vae)
iwae = with_added_losses(iwae)
sigma_vae = with_added_losses(sigma_vae)
vqvae = with_added_losses(vqvae)
vqvae2 = with_added_losses(vqvae2)

FAMILIES: Mapping[str, Callable[..., Family]] = table(
    "family",
    {
        "beta_tcvae": beta_tcvae,
        "beta_vae": beta_vae,
        "classifier": classifier,
        "code_prior": code_prior,
        "cvae": cvae,
        "dip_vae": dip_vae,
        "factor_vae": factor_vae,
        "gaussian_mixture": gaussian_mixture,
        "geco_vae": geco_vae,
        "hierarchical": hierarchical,
        "info_vae": info_vae,
        "iwae": iwae,
        "m2": m2,
        "sigma_vae": sigma_vae,
        "sparse_decoder": sparse_decoder,
        "sparse_vae": sparse_vae,
        "state_space": state_space,
        "td_vae": td_vae,
        "vae_gan": vae_gan,
        "vqvae": vqvae,
        "vqvae2": vqvae2,
    },
)


def build(
    name: str,
    shape: Sequence[int],
    players: Players,
    options: Options,
    dataset_info: Options,
) -> Family:
    """Builds a family by its registered name.

    Args:
      name: of the family.
      shape: of one event.
      players: for each player the weights of the losses it minimises, and its optimizer.
      options: the family's keyword arguments.
      dataset_info: properties of the data (`examples`, `classes`, ...), passed to families with an
        argument of the same name unless `options` sets it.

    Raises:
      ValueError: an unknown family, option or player.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {near_names(name, FAMILIES)}")
    parameters = inspect.signature(FAMILIES[name]).parameters
    from_data = {k: v for k, v in dataset_info.items() if k in parameters}
    settings = {**from_data, **with_columns(options, shape, dataset_info.get("column_classes", ()))}
    return call(FAMILIES[name], f"family {name!r}", shape, players, **settings)


__all__ = [
    "FAMILIES",
    "Players",
    "beta_tcvae",
    "beta_vae",
    "build",
    "classifier",
    "code_prior",
    "cvae",
    "dip_vae",
    "factor_vae",
    "gaussian_mixture",
    "geco_vae",
    "hierarchical",
    "info_vae",
    "iwae",
    "m2",
    "sigma_vae",
    "sparse_decoder",
    "sparse_vae",
    "state_space",
    "td_vae",
    "vae_gan",
    "vqvae",
    "vqvae2",
]

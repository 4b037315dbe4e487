"""Families without latents: priors over the latents of another model, trained after it."""

from collections.abc import Sequence

from vaejax import losses, networks, second_stage
from vaejax.core import conditions
from vaejax.core.game import Family, Model, assign, chain
from vaejax.core.token_layout import Layout
from vaejax.core.types import Options
from vaejax.families.shared import Players

__all__ = ["code_prior", "gaussian_mixture"]


def _prior_family(model: Model, players: Players) -> Family:
    return Family(model, chain(losses.nll(), losses.kl()), assign({"prior": ("prior",)}, players))


def code_prior(
    shape: Sequence[int],
    players: Players,
    *,
    layout: Layout | None = None,
    network: str | Options | networks.Autoregressive = "transformer",
    conditional: bool = True,
    classes: int = 0,
) -> Family:
    """An autoregressive prior p(codes | class): player `prior` minimises nll.

    As trained over the codes of a VQ-VAE (1711.00937, section 3.3). There is no latent: the ELBO
    is the log-likelihood of the codes.

    Args:
      shape: of one event of tokens, (T,).
      players: `prior`.
      layout: of the tokens, from the data.
      network: one of `networks.AUTOREGRESSIVE`.
      conditional: whether the class is a condition, where the data have classes. With
        `data.condition_dropout` the unconditional prior is learned too, as that of the label −1.
      classes: number of classes, from the data.

    Raises:
      ValueError: the data are not codes, or not those of the layout.
    """
    if layout is None or tuple(shape) != (layout.length,):
        raise ValueError(
            f"a prior over codes needs codes as data, found events of shape {tuple(shape)}: name a "
            "trained run with a codebook by --config.first_stage=WORKDIR, or use synthetic:codes; "
            "for vectors use --config=configs/prior.py:mixture"
        )
    autoregressive = networks.build_autoregressive(network, layout)
    condition = conditions.label(classes) if conditional and classes else None
    model = second_stage.code_prior(autoregressive, layout.length, condition=condition)
    return _prior_family(model, players)


def gaussian_mixture(
    shape: Sequence[int],
    players: Players,
    *,
    layout: Layout | None = None,
    components: int = 32,
    kmeans_iterations: int = 20,
) -> Family:
    """A mixture of Gaussians with full covariances: player `prior` minimises nll, −log p(z).

    Over the aggregate posterior of a VAE it is the ex-post density of 1903.12436 (section 4).

    Args:
      shape: of one event, (D,).
      players: `prior`.
      layout: of the data if they are codes, from the data.
      components: number of Gaussians, K.
      kmeans_iterations: of the initialisation.

    Raises:
      ValueError: the data are not vectors.
    """
    if layout is not None:
        raise ValueError(
            "a Gaussian mixture takes vectors, found codes: use configs/prior.py:codes"
        )
    if len(shape) != 1:
        raise ValueError(f"a Gaussian mixture takes vectors, found events of shape {tuple(shape)}")
    model = second_stage.gaussian_mixture(shape[0], components, kmeans_iterations=kmeans_iterations)
    return _prior_family(model, players)

"""Families without latents: priors over those of another model, trained after it."""

from collections.abc import Sequence
from typing import Any

from vaejax import losses, networks, second_stage
from vaejax.core import conditions
from vaejax.core.game import Family, assign, chain
from vaejax.families.shared import Players
from vaejax.quantizers.token_layout import Layout


def code_prior(
    shape: Sequence[int],
    players: Players,
    *,
    layout: Layout | None = None,
    network: Any = "transformer",
    conditional: bool = True,
    classes: int = 0,
) -> Family:
    """p(codes | class), one code after the other: player `prior` minimises nll.

    As trained over the codes of a VQ-VAE (1711.00937, section 3.3). There is no latent: the ELBO
    is the log-likelihood of the codes.

    Args:
      shape: of one event of tokens, (T,).
      players: `prior`.
      layout: what the tokens are.
      network: one of `networks.AUTOREGRESSIVE`.
      conditional: whether the class is given, where the data have classes. With
        `data.condition_dropout` it also learns codes without a class, label −1.
      classes: of the data.

    Raises:
      ValueError: the data are no codes, or not those of the layout.
    """
    if layout is None or tuple(shape) != (layout.length,):
        raise ValueError(
            "a prior over codes is learned from codes: name a trained run by "
            f"--config.prior_of=WORKDIR, or take synthetic:codes; found events of shape "
            f"{tuple(shape)}"
        )
    net = networks.build_autoregressive(network, layout)
    given = conditions.label(classes) if conditional and classes else None
    model = second_stage.codes(net, layout.length, condition=given)
    return Family(model, chain(losses.nll(), losses.kl()), assign({"prior": ("prior",)}, players))


def gaussian_mixture(
    shape: Sequence[int],
    players: Players,
    *,
    components: int = 32,
    kmeans_iterations: int = 20,
) -> Family:
    """A mixture of Gaussians of full covariance: player `prior` minimises nll, −log p(z).

    Over the aggregate posterior of a VAE it is the ex-post density of 1903.12436 (section 4).

    Args:
      shape: of one event, (D,).
      players: `prior`.
      components: K.
      kmeans_iterations: of the start.

    Raises:
      ValueError: the data are no vectors.
    """
    if len(shape) != 1:
        raise ValueError(f"a Gaussian mixture takes vectors, found events of shape {tuple(shape)}")
    model = second_stage.full_mixture(shape[0], components, kmeans_iterations=kmeans_iterations)
    return Family(model, chain(losses.nll(), losses.kl()), assign({"prior": ("prior",)}, players))

"""The families: a model, a chain of losses, a table of players; about a dozen lines each.

Weights, schedules and optimizers are the caller's: `players` maps each player of the family to
`(loss name -> weight, optimizer)`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from vaejax import bottlenecks, losses, networks, quantizers
from vaejax.game import Family, Weight, assign, chain
from vaejax.likelihoods import likelihood as make_likelihood
from vaejax.models import autoencoder
from vaejax.schedules import schedule
from vaejax.settings import call, near_names

Players = Mapping[str, tuple[Mapping[str, Weight], optax.GradientTransformation]]


def beta_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    capacity: Any = None,
) -> Family:
    """β-VAE (Higgins et al. 2017): player `vae` minimises nll + β · kl.

    With `capacity`, a schedule of C(t) in nats, the chain also makes `kl_capacity` = |KL − C(t)|
    (Burgess et al., 1804.03599), to be minimised in place of `kl` with weight γ.
    """
    p = make_likelihood(likelihood)
    bottleneck = bottlenecks.gaussian(latent_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape)
    terms = [losses.nll(), losses.kl()]
    if capacity is not None:
        target = schedule(capacity)
        terms.append(losses.capacity(target if callable(target) else lambda step: target))
    return Family(model, chain(*terms), assign({"vae": ("encoder", "decoder")}, players))


def vqvae(
    shape: Sequence[int],
    players: Players,
    *,
    codes: int = 512,
    code_dim: int = 64,
    network: Any = "residual",
    likelihood: Any = "normal",
) -> Family:
    """VQ-VAE (1711.00937): player `vae` minimises nll + ¼ · vq, player `codebook` minimises vq."""
    p = make_likelihood(likelihood)
    bottleneck = quantizers.vector(codes, code_dim)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape)
    owners = {"vae": ("encoder", "decoder"), "codebook": ("codebook",)}
    return Family(model, chain(losses.nll(), losses.kl(), losses.vq()), assign(owners, players))


FAMILIES: dict[str, Callable[..., Family]] = {"beta_vae": beta_vae, "vqvae": vqvae}


def build(
    name: str,
    shape: Sequence[int],
    players: Players,
    options: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> Family:
    """A family by its name.

    Args:
      name: of the family.
      shape: of one event.
      players: what each player minimises, and by which optimizer.
      options: the family's keyword arguments.
      facts: what is known of the data (`examples`, `classes`, ...); a family that has an argument
        of this name gets it, unless `options` say otherwise.

    Raises:
      ValueError: an unknown family, option or player.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {near_names(name, FAMILIES)}")
    wanted = inspect.signature(FAMILIES[name]).parameters
    known = {k: v for k, v in facts.items() if k in wanted}
    return call(FAMILIES[name], f"family {name!r}", shape, players, **{**known, **options})

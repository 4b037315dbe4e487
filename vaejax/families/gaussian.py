"""β-VAE and its relatives: one Gaussian latent, other losses of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from vaejax import losses
from vaejax.core.game import Family, assign, chain
from vaejax.core.registry import call
from vaejax.core.schedules import schedule
from vaejax.families.shared import Players, gaussian_vae


def beta_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    capacity: Any = None,
    free_bits: Mapping[str, Any] | None = None,
) -> Family:
    """β-VAE (Higgins et al. 2017): player `vae` minimises nll + β · kl.

    Of this family as of its relatives below, `prior` is one of `latent_priors.PRIORS`: N(0, I), a
    learned mixture, or a VampPrior, whose parameters belong to the decoder's owner.

    With `capacity`, a schedule of C(t) in nats, the chain also makes `kl_capacity` = |KL − C(t)|
    (Burgess et al., 1804.03599), to be minimised in place of `kl` with weight γ. With `free_bits`,
    settings of `losses.free_bits`, it makes `kl_free` (1606.04934), likewise.
    """
    model, groups = gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = [losses.nll(), losses.kl()]
    if capacity is not None:
        target = schedule(capacity)
        terms.append(losses.capacity(target if callable(target) else lambda step: target))
    if free_bits is not None:
        terms.append(call(losses.free_bits, "free_bits", **free_bits))
    return Family(model, chain(*terms), assign({"vae": groups}, players))


def beta_tcvae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    sampling: str = "weighted",
    examples: int = 0,
) -> Family:
    """β-TCVAE (1802.04942): player `vae` minimises nll + mi + β · tc + dimwise_kl.

    The three are estimated by minibatch weighted or stratified `sampling` of `examples` examples.
    """
    model, groups = gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.decomposition(examples, sampling))
    return Family(model, terms, assign({"vae": groups}, players))


def dip_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    kind: str = "i",
) -> Family:
    """DIP-VAE-I or II (1711.00848): `vae` minimises nll + kl + dip_off_diagonal, dip_diagonal."""
    model, groups = gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.dip(kind))
    return Family(model, terms, assign({"vae": groups}, players))


def sigma_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "normal",
    prior: Any = "standard",
) -> Family:
    """σ-VAE (2006.13202): player `vae` minimises nll_optimal + kl.

    Or nll + kl, with a likelihood of scale `'learned'` or `'predicted'`.
    """
    model, groups = gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.nll_optimal())
    return Family(model, terms, assign({"vae": groups}, players))


def geco_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    target: float = 0.0,
) -> Family:
    """GECO (1810.00597): `vae` minimises kl + geco, `multiplier` −geco: nll is held at `target`."""
    model, groups = gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), losses.geco(target))
    return Family(model, terms, assign({"vae": groups, "multiplier": ("geco",)}, players))


def iwae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 50,
    network: Any = "mlp",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    samples: int = 5,
) -> Family:
    """IWAE (1509.00519): players `encoder` and `decoder` minimise iwae, of `samples` draws each.

    For the doubly reparameterised gradient (1810.04152), `encoder` minimises dreg; for a VAE of
    several draws, both minimise nll + kl.
    """
    model, (encoder, *rest) = gaussian_vae(
        shape, latent_dim, network, likelihood, prior, samples=samples
    )
    terms = chain(losses.nll(), losses.kl(), losses.iwae(samples), losses.dreg(samples))
    owners = {"encoder": (encoder,), "decoder": tuple(rest)}
    return Family(model, terms, assign(owners, players))


def info_vae(
    shape: Sequence[int],
    players: Players,
    *,
    latent_dim: int = 10,
    network: Any = "conv",
    likelihood: Any = "bernoulli",
    prior: Any = "standard",
    mmd: Mapping[str, Any] | None = None,
) -> Family:
    """InfoVAE (1706.02262, section 3): player `vae` minimises nll + (1−α) · kl + (α+λ−1) · mmd.

    WAE-MMD (1711.01558) is nll + λ · mmd. Of both, `mmd` holds the settings of `losses.mmd`.
    """
    model, groups = gaussian_vae(shape, latent_dim, network, likelihood, prior)
    terms = chain(losses.nll(), losses.kl(), call(losses.mmd, "mmd", **(mmd or {})))
    return Family(model, terms, assign({"vae": groups}, players))

"""β-VAE and its relatives: one Gaussian latent, with different losses."""

from collections.abc import Sequence

from vaejax import losses
from vaejax.core.game import Family, assign, chain
from vaejax.core.registry import call
from vaejax.core.schedules import schedule
from vaejax.core.types import Options, Setting, Weight
from vaejax.families.shared import Players, gaussian_vae, with_options_of

__all__ = ["beta_tcvae", "beta_vae", "dip_vae", "geco_vae", "info_vae", "iwae", "sigma_vae"]


@with_options_of(gaussian_vae)
def beta_vae(
    shape: Sequence[int],
    players: Players,
    *,
    capacity: Options | Weight | None = None,
    free_bits: Options | None = None,
    **options: Setting,
) -> Family:
    """β-VAE (Higgins et al. 2017): player `vae` minimises nll + β · kl.

    Args:
      shape: of one event.
      players: `vae`.
      **options: of `gaussian_vae`.
      capacity: a schedule of C(t) in nats, which adds the loss `kl_capacity` = |KL − C(t)|
        (Burgess et al., 1804.03599), to be minimised in place of `kl` with weight γ; None for none.
      free_bits: settings of `losses.free_bits`, which adds the loss `kl_free` (1606.04934), to be
        minimised in place of `kl`; None for none.
    """
    model, groups = gaussian_vae(shape, **options)
    terms = [losses.nll(), losses.kl()]
    if capacity is not None:
        target = schedule(capacity)
        terms.append(losses.capacity(target if callable(target) else lambda step: target))
    if free_bits is not None:
        terms.append(call(losses.free_bits, "free_bits", **free_bits))
    return Family(model, chain(*terms), assign({"vae": groups}, players))


@with_options_of(gaussian_vae)
def beta_tcvae(
    shape: Sequence[int],
    players: Players,
    *,
    sampling: str = "weighted",
    examples: int = 0,
    **options: Setting,
) -> Family:
    """β-TCVAE (1802.04942): player `vae` minimises nll + mi + β · tc + dimwise_kl.

    Args:
      shape: of one event.
      players: `vae`.
      **options: of `gaussian_vae`.
      sampling: estimator of the three parts of the KL: minibatch `'weighted'` or `'stratified'`
        sampling.
      examples: number of training examples, from the data.
    """
    model, groups = gaussian_vae(shape, **options)
    terms = chain(losses.nll(), losses.kl(), losses.decomposition(examples, sampling))
    return Family(model, terms, assign({"vae": groups}, players))


@with_options_of(gaussian_vae)
def dip_vae(
    shape: Sequence[int], players: Players, *, kind: str = "i", **options: Setting
) -> Family:
    """DIP-VAE-I or II (1711.00848): `vae` minimises nll + kl + dip_off_diagonal + dip_diagonal.

    Args:
      shape: of one event.
      players: `vae`.
      **options: of `gaussian_vae`.
      kind: `'i'` or `'ii'`.
    """
    model, groups = gaussian_vae(shape, **options)
    terms = chain(losses.nll(), losses.kl(), losses.dip(kind))
    return Family(model, terms, assign({"vae": groups}, players))


@with_options_of(gaussian_vae, likelihood="normal")
def sigma_vae(shape: Sequence[int], players: Players, **options: Setting) -> Family:
    """σ-VAE (2006.13202): player `vae` minimises nll_optimal + kl.

    Or nll + kl, with a likelihood of scale `'learned'` or `'predicted'`.

    Args:
      shape: of one event.
      players: `vae`.
      **options: of `gaussian_vae`.
    """
    model, groups = gaussian_vae(shape, **options)
    terms = chain(losses.nll(), losses.kl(), losses.nll_optimal())
    return Family(model, terms, assign({"vae": groups}, players))


@with_options_of(gaussian_vae)
def geco_vae(
    shape: Sequence[int], players: Players, *, target: float = 0.0, **options: Setting
) -> Family:
    """GECO (1810.00597): `vae` minimises kl + geco, and `multiplier` −geco.

    Args:
      shape: of one event.
      players: `vae` and `multiplier`.
      **options: of `gaussian_vae`.
      target: value of nll, in nats, that the constraint prescribes.
    """
    model, groups = gaussian_vae(shape, **options)
    terms = chain(losses.nll(), losses.kl(), losses.geco(target))
    return Family(model, terms, assign({"vae": groups, "multiplier": ("geco",)}, players))


@with_options_of(gaussian_vae, latent_dim=50, network="mlp")
def iwae(shape: Sequence[int], players: Players, *, samples: int = 5, **options: Setting) -> Family:
    """IWAE (1509.00519): players `encoder` and `decoder` minimise iwae.

    With the doubly reparameterised gradient (1810.04152), `encoder` minimises dreg; for a VAE with
    several samples, both minimise nll + kl.

    Args:
      shape: of one event.
      players: `encoder` and `decoder`.
      **options: of `gaussian_vae`.
      samples: number of samples of z per example.
    """
    model, (encoder, *rest) = gaussian_vae(shape, samples=samples, **options)
    terms = chain(losses.nll(), losses.kl(), losses.iwae(samples), losses.dreg(samples))
    owners = {"encoder": (encoder,), "decoder": tuple(rest)}
    return Family(model, terms, assign(owners, players))


@with_options_of(gaussian_vae)
def info_vae(
    shape: Sequence[int],
    players: Players,
    *,
    mmd: Options | None = None,
    **options: Setting,
) -> Family:
    """InfoVAE (1706.02262, section 3): player `vae` minimises nll + (1−α) · kl + (α+λ−1) · mmd.

    WAE-MMD (1711.01558) is nll + λ · mmd.

    Args:
      shape: of one event.
      players: `vae`.
      **options: of `gaussian_vae`.
      mmd: settings of `losses.mmd`; None for its defaults.
    """
    model, groups = gaussian_vae(shape, **options)
    terms = chain(losses.nll(), losses.kl(), call(losses.mmd, "mmd", **(mmd or {})))
    return Family(model, terms, assign({"vae": groups}, players))

"""Families with discrete latents."""

from collections.abc import Sequence

from vaejax import losses, networks, quantizers
from vaejax.core.game import Family, LossTransform, assign, chain
from vaejax.core.registry import call
from vaejax.core.types import Options
from vaejax.distributions.likelihoods import Likelihood
from vaejax.distributions.likelihoods import likelihood as make_likelihood
from vaejax.families.shared import Players
from vaejax.models import autoencoder, multiscale_codes
from vaejax.quantizers import Quantizer

__all__ = ["vqvae", "vqvae2"]


def _losses(quantizer: Quantizer, entropies: Options | None) -> LossTransform:
    terms = [losses.nll(), losses.kl()]
    if not quantizer.stochastic:
        terms.append(losses.vq())
    if entropies is not None:
        terms.append(call(losses.code_entropies, "entropies", **entropies))
    return chain(*terms)


def vqvae(
    shape: Sequence[int],
    players: Players,
    *,
    quantizer: str | Options | Quantizer = "vector",
    width: int = 0,
    network: str | Options | networks.Pair = "residual",
    likelihood: str | Options | Likelihood = "normal",
    entropies: Options | None = None,
    tokens: int = 0,
) -> Family:
    """VQ-VAE (1711.00937): player `vae` minimises nll + ¼ · vq, player `codebook` minimises vq.

    Args:
      shape: of one event.
      players: `vae`; and `codebook`, if the quantizer has parameters.
      quantizer: one of `quantizers.QUANTIZERS`. Lattices have no codebook, and `vq` is optional for
        them; Gumbel-softmax has no loss `vq`: both of its players minimise nll + kl.
      width: features of the encoder and the decoder, projected to the quantizer's dimensions and
        back; 0 for the quantizer's own.
      network: encoder and decoder.
      likelihood: p(x | z).
      entropies: settings of `losses.code_entropies`, for a lookup-free quantizer; None for none.
      tokens: number of classes of the data's tokens, for a categorical likelihood.
    """
    p, q = make_likelihood(likelihood, tokens), quantizers.build(quantizer)
    bottleneck = quantizers.bottleneck(q, width=width or None)
    encoder, decoder = networks.build(network, shape, bottleneck.width, p.width(shape[-1]))
    model = autoencoder(encoder, bottleneck, decoder, p, shape)
    projection = ("projection",) if width not in (0, q.dim) else ()
    owners = {"vae": ("encoder", "decoder", *projection)}
    if q.has_params:
        owners["codebook"] = ("codebook",)
    return Family(model, _losses(q, entropies), assign(owners, players))


def vqvae2(
    shape: Sequence[int],
    players: Players,
    *,
    quantizer: str | Options | Quantizer = "vector",
    network: Options | None = None,
    downsamplings: Sequence[int] = (2, 1),
    likelihood: str | Options | Likelihood = "normal",
    entropies: Options | None = None,
) -> Family:
    """VQ-VAE-2 (1906.00446, section 3.1): codes at several levels, each given those above.

    Player `vae` minimises nll + ¼ · vq, and the player `codebook_i` of each level i, 0 the top,
    minimises vq; an EMA codebook needs the level as an option, `ema_codebook(node=i)`.

    Args:
      shape: of one image, (H, W, C).
      players: `vae`, `codebook_0`, `codebook_1`, ...; codebooks only if the quantizer has
        parameters.
      quantizer: of every level, see `vqvae`.
      network: settings of `networks.residual`.
      downsamplings: number of strides of 2 from the image to the bottom level, and from each level
        to the one above.
      likelihood: p(x | z).
      entropies: see `vqvae`.
    """
    p, q = make_likelihood(likelihood), quantizers.build(quantizer)
    codebooks = [f"codebook_{i}" for i in range(len(downsamplings))]
    bottlenecks = [quantizers.bottleneck(q, group=name) for name in codebooks]
    levels = networks.multiscale_networks(
        shape, bottlenecks[0].width, p.width(shape[-1]), downsamplings, **(network or {})
    )
    model = multiscale_codes(levels, bottlenecks, p, shape)
    owners: dict[str, tuple[str, ...]] = {"vae": ("encoder", "decoder")}
    if q.has_params:
        owners |= {name: (name,) for name in codebooks}
    return Family(model, _losses(q, entropies), assign(owners, players))

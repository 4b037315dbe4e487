"""Families with codes, and their losses as in the papers, with all stop-gradients."""

import jax
import jax.numpy as jnp
from flax import linen

from tests.families.common import SHAPE, adam, bernoulli_nll, sums
from vaejax import families, networks
from vaejax.quantizers import (
    finite_scalar,
    grouped,
    gumbel_softmax,
    lookup_free,
    residual,
    sim_vq,
    vector,
)

CODES, DIM = 256, 16


class Patches(linen.Module):
    """A dense network on each of 4 × 4 patches, into features or back."""

    out: int
    back: bool = False

    @linen.compact
    def __call__(self, x):
        if not self.back:
            x = x.reshape(-1, 4, 4, 4, 4).swapaxes(2, 3).reshape(-1, 4, 4, 16)
        x = linen.Dense(self.out)(jax.nn.relu(linen.Dense(32)(x)))
        return x.reshape(-1, 4, 4, 4, 4).swapaxes(2, 3).reshape(-1, *SHAPE) if self.back else x


PATCHES = networks.from_linen(Patches(DIM)), networks.from_linen(Patches(16, back=True))
RESIDUAL = networks.build(
    {"kind": "residual", "hidden": 16, "blocks": 1, "block_hidden": 16, "implementation": "native"},
    SHAPE,
    DIM,
    1,
)


def vqvae_reference(pair):
    def reference(params, x, trace, step):
        encoder, decoder = pair
        sg = jax.lax.stop_gradient
        z_e = encoder.apply(params["encoder"], x)
        gap = z_e[..., None, :] - params["codebook"][None, None, None]
        e = params["codebook"][(gap**2).sum(-1).argmin(-1)]
        logits = decoder.apply(params["decoder"], z_e + sg(e - z_e))
        codebook, commitment = sums((sg(z_e) - e) ** 2), sums((z_e - sg(e)) ** 2)
        return (bernoulli_nll(logits, x) + codebook + 0.25 * commitment).mean()

    return reference


def vqvae(network, codebook):
    players = {"vae": ({"nll": 1, "vq": 0.25}, adam()), "codebook": ({"vq": 1}, codebook)}
    options = {"network": network, "likelihood": "bernoulli"}
    return families.vqvae(SHAPE, players, quantizer=vector(CODES, DIM), **options)


SG = jax.lax.stop_gradient


def discrete(quantizer, minimizes, codebook=None, **options):
    """A VQ-VAE of patches with another quantizer."""
    dim = quantizer.dim
    pair = networks.from_linen(Patches(dim)), networks.from_linen(Patches(16, back=True))
    players = {"vae": (minimizes, adam())}
    if codebook is not None:
        players["codebook"] = codebook
    options = {"network": pair, "likelihood": "bernoulli", **options}
    return families.vqvae(SHAPE, players, quantizer=quantizer, **options)


def tokens_of(params, x, dim):
    return networks.from_linen(Patches(dim)).apply(params["encoder"], x)


def nll_of(params, z, x):
    decoder = networks.from_linen(Patches(16, back=True))
    return bernoulli_nll(decoder.apply(params["decoder"], z), x)


def nearest_of(tokens, codebook):
    gaps = SG(tokens)[..., None, :] - SG(codebook)[None, None, None]
    return (gaps**2).sum(-1).argmin(-1)


def sim_vq_vae():
    codebook = ({"vq": 1}, adam())
    return discrete(sim_vq(32, DIM), {"nll": 1, "vq": 0.25}, codebook)


def sim_vq_reference(params, x, trace, step):
    """2411.02038, eq. 6: the distance to q = C W, with C frozen."""
    z_e = tokens_of(params, x, DIM)
    codebook = SG(params["codebook"]["codes"]) @ params["codebook"]["basis"]
    e = codebook[nearest_of(z_e, codebook)]
    nll = nll_of(params, z_e + SG(e - z_e), x)
    return (nll + sums((SG(z_e) - e) ** 2) + 0.25 * sums((z_e - SG(e)) ** 2)).mean()


LEVELS = (5, 5, 4)


def fsq_vae():
    return discrete(finite_scalar(LEVELS), {"nll": 1})


def fsq_reference(params, x, trace, step):
    """2309.15505, appendix A."""
    z_e, count = tokens_of(params, x, 3), jnp.asarray(LEVELS, jnp.float32)[None, None, None]
    half, offset = (count - 1) * 0.999 / 2, jnp.where(count % 2 == 0, 0.5, 0.0)
    bounded = jnp.tanh(z_e + jnp.arctanh(offset / half)) * half - offset
    z = bounded + SG(jnp.round(bounded) - bounded)
    return nll_of(params, z / (count // 2), x).mean()


def lfq_vae():
    weights = {"nll": 1, "vq": 0.25, "token_entropy": 0.1, "usage_entropy": -0.2}
    return discrete(lookup_free(6), weights, entropies={"temperature": 0.5})


def lfq_reference(params, x, trace, step):
    """2310.05737, eq. 5, over all 2^6 codes."""
    z_e = tokens_of(params, x, 6)
    codes = jnp.where(z_e > 0, 1.0, -1.0)
    nll = nll_of(params, z_e + SG(codes - z_e), x)
    corners = 2.0 * (jnp.arange(64)[:, None] >> jnp.arange(6)[None] & 1).astype(jnp.float32) - 1
    gaps = z_e[..., None, :] - corners[None, None, None]
    log_p = jax.nn.log_softmax(-(gaps**2).sum(-1) / 0.5)
    token_entropy = -sums(jnp.exp(log_p) * log_p)
    mean = jnp.exp(log_p).mean((0, 1, 2))
    usage = -16 * (mean * jnp.log(mean)).sum()
    return (nll + 0.25 * sums((z_e - codes) ** 2) + 0.1 * token_entropy).mean() - 0.2 * usage


def residual_vae():
    codebook = ({"vq": 1}, adam())
    return discrete(residual(vector(32, DIM), 3), {"nll": 1, "vq": 0.25}, codebook)


def residual_reference(params, x, trace, step):
    """2107.03312, algorithm 1, straight through at the sum."""
    z_e = tokens_of(params, x, DIM)
    rest, total, losses = z_e, 0.0, 0.0
    for codebook in params["codebook"]:
        e = codebook[nearest_of(rest, codebook)]
        losses += sums((SG(rest) - e) ** 2) + 0.25 * sums((rest - SG(e)) ** 2)
        rest, total = rest - SG(e), total + SG(e)
    return (nll_of(params, z_e + SG(total - z_e), x) + losses).mean()


def rotated_groups_vae():
    codebook = ({"vq": 1}, adam())
    quantizer = grouped(vector(32, DIM // 2, gradient="rotation"), 2)
    return discrete(quantizer, {"nll": 1, "vq": 0.25}, codebook)


def rotated_groups_reference(params, x, trace, step):
    """2410.06424, eq. 4, with the rotation as a matrix."""
    z_e = tokens_of(params, x, DIM)
    pieces, losses = [], 0.0
    for piece, codebook in zip(jnp.split(z_e, 2, axis=-1), params["codebook"], strict=True):
        e = codebook[nearest_of(piece, codebook)]
        losses += sums((SG(piece) - e) ** 2) + 0.25 * sums((piece - SG(e)) ** 2)
        long, short = (
            jnp.maximum(jnp.linalg.norm(SG(a), axis=-1, keepdims=True), 1e-6) for a in (e, piece)
        )
        blank = short == 1e-6  # an empty patch, at initialisation
        a, b = SG(piece / short), SG(e / long)
        r = (a + b) / jnp.maximum(jnp.linalg.norm(a + b, axis=-1, keepdims=True), 1e-6)
        eye = jnp.eye(DIM // 2)[None, None, None]
        matrix = eye - 2 * r[..., :, None] * r[..., None, :] + 2 * b[..., :, None] * a[..., None, :]
        rotated = long / short * (SG(matrix) @ piece[..., None])[..., 0]
        rotated = jnp.where(blank, piece, rotated)
        pieces.append(rotated + SG(e - rotated))
    return (nll_of(params, jnp.concatenate(pieces, -1), x) + losses).mean()


def gumbel_vae():
    codebook = ({"nll": 1}, adam())
    return discrete(gumbel_softmax(16, DIM, temperature=0.8), {"nll": 1, "kl": 0.5}, codebook)


def gumbel_reference(params, x, trace, step, gumbel):
    """1611.01144, section 2: the exact KL, and the relaxed sample."""
    logits = tokens_of(params, x, 16)
    z = jax.nn.softmax((logits + gumbel) / 0.8) @ params["codebook"]
    p = jax.nn.softmax(logits)
    kl = sums(p * (jnp.log(p) + jnp.log(16.0)))
    return (nll_of(params, z, x) + 0.5 * kl).mean()


SMALL = {"hidden": 16, "blocks": 1, "block_hidden": 16, "implementation": "native"}


def vqvae2():
    players = {"vae": ({"nll": 1, "vq": 0.25}, adam())}
    players |= {f"codebook_{i}": ({"vq": 1}, adam()) for i in range(2)}
    options = {"quantizer": vector(64, DIM), "network": SMALL, "likelihood": "bernoulli"}
    return families.vqvae2(SHAPE, players, **options)


def vqvae2_reference(params, x, trace, step):
    """1906.00446, algorithm 1, with its two levels written out."""
    bottom, top = (
        networks.build({"kind": "residual", **SMALL, "downsamplings": n}, shape, 16, out)
        for n, shape, out in ((2, SHAPE, 1), (1, (4, 4, 16), 16))
    )
    encoder, decoder = params["encoder"], params["decoder"]

    def linear(p, x):
        return x @ p["Conv_0"]["kernel"][0, 0] + p["Conv_0"]["bias"][None, None, None]

    h_bottom = bottom[0].apply(encoder["level_1"], x)
    h_top = top[0].apply(encoder["level_0"], h_bottom)
    t = linear(encoder["tokens_0"], h_top)
    e_top = params["codebook_0"][nearest_of(t, params["codebook_0"])]
    context = top[1].apply(decoder["level_0"], t + SG(e_top - t))
    b = linear(encoder["tokens_1"], jnp.concatenate([h_bottom, context], -1))
    e_bottom = params["codebook_1"][nearest_of(b, params["codebook_1"])]
    both = jnp.concatenate([b + SG(e_bottom - b), context], -1)
    total = bernoulli_nll(bottom[1].apply(decoder["level_1"], both), x)
    for z_e, e in ((t, e_top), (b, e_bottom)):
        total += sums((SG(z_e) - e) ** 2) + 0.25 * sums((z_e - SG(e)) ** 2)
    return total.mean()

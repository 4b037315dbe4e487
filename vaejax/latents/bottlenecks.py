"""Encoder features -> a stochastic node. Quantizers, which give codes, are in `quantizers`."""

from typing import Any

import jax
import jax.numpy as jnp

from vaejax.core.bottleneck import Bottleneck
from vaejax.core.game import Latent, Params, Weight
from vaejax.distributions import Normal
from vaejax.distributions.spike_and_slab import SpikeAndSlab

_LAST = 2**31 - 1  # a step at which every schedule is at its end
_LN2 = 0.6931471805599453
LOWEST_SCALE = 1e-3


def soft_normal(features: jax.Array, lowest: float = LOWEST_SCALE) -> Normal:
    """Features `[..., 2 D]`, mean and a standard deviation side by side, as a density over D.

    The deviation is 1 at 0 and grows linearly: softplus with β = ln 2 (Efficient-VDVAE, 2203.13751,
    section 3.2), which keeps the gradients of large deviations bounded where exp does not. It is
    never below `lowest`.
    """
    loc, raw = jnp.split(features, 2, axis=-1)
    return Normal(loc, lowest + (1 - lowest) * jax.nn.softplus(_LN2 * raw) / _LN2)


def drawn(q: Any, key: jax.Array | None) -> jax.Array:
    """A draw from q, or its mean if there is no key."""
    return q.mean if key is None else q.sample(key)


def gaussian(latent_dim: int) -> Bottleneck:
    """A diagonal Gaussian against N(0, I); features `[B, ..., 2 · latent_dim]`.

    The features are its mean and its log-variance.
    """

    def apply(params: Params, features: jax.Array, key: jax.Array | None) -> Latent:
        del params
        posterior = Normal.from_features(features)
        prior = Normal(jnp.zeros_like(posterior.loc), jnp.ones_like(posterior.loc))
        return Latent(posterior, prior, drawn(posterior, key))

    def draw(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del params
        return temperature * jax.random.normal(key, (*shape[:-1], latent_dim))

    return Bottleneck(2 * latent_dim, lambda key, features: {}, apply, draw)


def spike_and_slab(
    latent_dim: int,
    *,
    alpha: float = 0.01,
    sharpness: Weight = 200.0,
    slab: Weight = 1.0,
    relaxed: bool = True,
) -> Bottleneck:
    """γ N(μ, σ²) + (1 − γ) δ₀ against the same with α and N(0, 1) (Tonolini et al., UAI 2019).

    Features `[B, ..., 3 · latent_dim]`.

    Args:
      latent_dim: elements of z.
      alpha: the prior probability α that an element is not zero.
      sharpness: c of the relaxed draw (see `SpikeAndSlab.sample`), a number or a schedule; the
        paper raises it from 50 to 200.
      slab: how far slabs may be from N(0, 1), a number or a schedule: 0 where only which elements
        are zero may tell examples apart. Raised from 0 to 1 it is the paper's spike warm-up.
      relaxed: whether training sees the relaxed draw, as in the paper, under which a small part
        of the elements is neither zero nor of the slab; or the exact one, with the relaxed one's
        gradient. Without a step of training draws are exact, so that log q(z) is their density.
    """

    def at(step: jax.Array, relaxed: bool = relaxed) -> Bottleneck:
        def now(value: Weight) -> jax.Array:
            return jnp.asarray(value(step) if callable(value) else value, jnp.float32)

        def apply(params: Params, features: jax.Array, key: jax.Array | None) -> Latent:
            del params
            q = SpikeAndSlab.from_features(
                features, sharpness=now(sharpness), slab=now(slab), relaxed=relaxed
            )
            log_alpha = jnp.full_like(q.loc, jnp.log(alpha))
            one = jnp.ones_like(q.loc)
            prior = SpikeAndSlab(jnp.zeros_like(one), one, log_alpha, q.sharpness, relaxed)
            return Latent(q, prior, drawn(q, key))

        return Bottleneck(3 * latent_dim, lambda key, features: {}, apply, draw, at)

    def draw(
        params: Params, key: jax.Array, shape: tuple[int, ...], temperature: float | jax.Array
    ) -> jax.Array:
        del params
        slab_key, mask_key = jax.random.split(key)
        shape = (*shape[:-1], latent_dim)
        mask = jax.random.bernoulli(mask_key, alpha, shape)
        return jnp.where(mask, temperature * jax.random.normal(slab_key, shape), 0.0)

    return at(jnp.int32(_LAST), relaxed=False)
